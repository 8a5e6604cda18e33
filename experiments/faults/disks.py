"""Fill the disk, make it read-only, damage data: what a user is told, and what is left.

The faults are real: file systems of this process's own, which only Linux has, with user
namespaces (``unshare --user --mount``).
"""

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import kfgn_graph as kfgn
from experiments.faults.kills import compared
from experiments.faults.small import finish, write_spec
from experiments.records import write_json

INSIDE = "KFGN_FAULTS_INSIDE"
UPDATES = 300


def main() -> None:
    """Try all faults; exit with 1 if one ends otherwise than it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("experiments/output/faults"))
    options = parser.parse_args()
    if INSIDE not in os.environ:
        sys.exit(subprocess.call(_unshared(sys.argv[1:]), env=os.environ | {INSIDE: "1"}))
    with tempfile.TemporaryDirectory() as folder:
        results = [fault(Path(folder) / fault.__name__) for fault in FAULTS]
    for result in results:
        print(f"{result['fault']}: exit {result['exit']}, as wanted: {result['good']}")
        print(f"  {result['message']}")
    record = {"faults": results, "machine": kfgn.machine_record()}
    print(write_json(options.output / "disks.json", record))
    sys.exit(not all(result["good"] for result in results))


def _unshared(arguments: list[str]) -> list[str]:
    call = [sys.executable, "-m", "experiments.faults.disks", *arguments]
    return ["unshare", "--user", "--map-root-user", "--mount", *call]


def full_disk(folder: Path) -> dict[str, Any]:
    """Train on a disk of 900 KiB until it is full; make room; go on, and compare."""
    spec = write_spec(folder, UPDATES, evaluate=10, checkpoint=10)
    alone = finish("train", spec, "--runs", folder / "alone", "--quiet")
    with _mounted(folder / "disk", "size=900k") as disk:
        done = finish("train", spec, "--runs", disk, "--quiet")
        run = disk / "small-1"
        whole = whole_checkpoints(run)
        _mount("remount,size=64m", disk)
        resumed = finish("resume", run, "--quiet")
        good = alone.returncode == resumed.returncode == 0 and bool(whole)
        different = compared(folder / "alone" / "small-1", run) if good else ["not resumed"]
    result = _result("disk of 900 KiB is full", done, 4, "The disk is full: make room")
    result["good"] &= not different
    return result | {"checkpoints": whole, "resumed": resumed.returncode, "different": different}


def whole_checkpoints(run: Path) -> list[int]:
    """Return the updates of a run's checkpoints, all of which have to be readable."""
    record = kfgn.read_run(run)
    updates = [update for update, _ in record.checkpoints]
    for update in updates:
        record.state(update)
    return updates


def read_only_folder(folder: Path) -> dict[str, Any]:
    """Train into a file system that is mounted read-only."""
    spec = write_spec(folder, UPDATES)
    with _mounted(folder / "disk", "ro") as disk:
        done = finish("train", spec, "--runs", disk, "--quiet")
    return _result("folder is read-only", done, 4, "read-only: choose another folder")


def run_becomes_read_only(folder: Path) -> dict[str, Any]:
    """Go on with a run whose file system has become read-only; nothing of it changes."""
    spec = write_spec(folder, 40)
    with _mounted(folder / "disk", "size=64m") as disk:
        finish("train", spec, "--runs", disk, "--quiet")
        before = _contents(disk)
        _mount("remount,ro", disk)
        done = finish("resume", disk / "small-1", "--updates", 60, "--quiet")
        kept = _contents(disk) == before
    result = _result("run has become read-only", done, 4, "read-only")
    result["good"] &= kept and len(before) > 3
    return result


def damaged_array_file(folder: Path) -> dict[str, Any]:
    """Train on a user's .npz of which the end is lost."""
    spec = write_spec(folder, UPDATES)
    spec.write_text(spec.read_text().replace('name = "digits"', 'file = "data.npz"'))
    rng = np.random.default_rng(0)
    path = folder / "data.npz"
    np.savez(path, x=rng.random((500, 64)), y=rng.integers(0, 10, 500))
    path.write_bytes(path.read_bytes()[:-1000])
    done = finish("train", spec, "--runs", folder / "runs", "--quiet")
    return _result("data file is cut off", done, 3, "is not a readable .npz file")


def wrong_hash(folder: Path) -> dict[str, Any]:
    """Use a data set one bit of which is another."""
    place = folder / "mnist"
    place.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (place / f"{name}-ubyte.gz").write_bytes(gzip.compress(b"another file"))
    with _variable("KFGN_DATA", folder):
        done = finish("train", "mnist-classes", "--runs", folder / "runs", "--quiet")
    return _result("data set has another hash", done, 3, "its SHA-256 is")


def cache_is_full(folder: Path) -> dict[str, Any]:
    """Generate a data set that does not fit on the disk."""
    with _mounted(folder / "disk", "size=2m") as disk, _variable("KFGN_CACHE", disk):
        done = finish("data", "make", "curves")
        left = list(disk.rglob("*.npz"))
    result = _result("data set does not fit", done, 3, "cannot write")
    result["good"] &= not left
    return result


FAULTS: list[Callable[[Path], dict[str, Any]]] = [
    full_disk,
    read_only_folder,
    run_becomes_read_only,
    damaged_array_file,
    wrong_hash,
    cache_is_full,
]


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    """Have a file system in memory at ``folder`` while the block runs."""
    folder.mkdir(parents=True)
    _mount(options, folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def _mount(options: str, folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


@contextmanager
def _variable(name: str, value: Path) -> Iterator[None]:
    """Have an environment variable while the block runs."""
    kept = os.environ.get(name)
    os.environ[name] = str(value)
    try:
        yield
    finally:
        os.environ.pop(name)
        if kept is not None:
            os.environ[name] = kept


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _result(
    fault: str, done: "subprocess.CompletedProcess[str]", code: int, text: str
) -> dict[str, Any]:
    good = done.returncode == code and text in done.stderr and "Traceback" not in done.stderr
    message = done.stderr.strip().replace("\n", " ")
    return {"fault": fault, "exit": done.returncode, "message": message, "good": good}


if __name__ == "__main__":
    main()
