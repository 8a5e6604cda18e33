"""Train a small network for a long time, and fit a line to the process's resident memory."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import kfgn_graph as kfgn
from experiments.faults.kills import METRICS, UPDATE
from experiments.faults.small import begin, write_spec
from experiments.records import write_json

EVERY = 100
FLAT = 0.05
"""MiB a thousand updates that a line may rise; a leak of an array of this net is 5 or more."""


def resident(process: int) -> float:
    """Return the resident memory of a process, MiB; Linux tells it."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def sampled(process: "subprocess.Popen[str]", metrics: Path) -> list[tuple[int, float]]:
    """Note updates and resident memory, at least a hundred updates apart, until a process ends."""
    samples: list[tuple[int, float]] = []
    updates, read = 0, 0
    while process.poll() is None:
        if metrics.exists():
            with metrics.open("rb") as stream:
                stream.seek(read)
                content = stream.read()
            added = content[: content.rfind(b"\n") + 1]  # whole lines
            updates, read = updates + added.count(UPDATE), read + len(added)
            if updates >= EVERY + (samples[-1][0] if samples else 0):
                with suppress(OSError, IndexError):  # it has just ended
                    samples.append((updates, resident(process.pid)))
        time.sleep(0.01)
    return samples


def main() -> None:
    """Train, and exit with 1 if memory rises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--warm-up", type=int, default=2_000)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--output", type=Path, default=Path("experiments/output/faults"))
    options = parser.parse_args()
    began = time.perf_counter()
    found = grown(options.updates, options.warm_up, options.backend)
    found["seconds"] = time.perf_counter() - began
    record = {**vars(options), **found, "machine": kfgn.machine_record()}
    path = write_json(options.output / "memory.json", record | {"output": str(options.output)})
    for key in ("at_warm_up", "at_end", "slope", "half_width", "seconds"):
        print(f"{key}: {found[key]:.4g}")
    print(path)
    sys.exit(bool(found["slope"] > FLAT))


def grown(updates: int, warm_up: int, backend: str = "auto") -> dict[str, Any]:
    """Return the memory, MiB, and its slope after the warm-up, MiB a thousand updates."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = write_spec(folder, updates, evaluate=1000, checkpoint=1000, backend=backend)
        process = begin("train", spec, "--runs", folder / "runs", "--quiet")
        samples = sampled(process, folder / "runs" / "small-1" / METRICS)
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    table = np.array([sample for sample in samples if sample[0] >= warm_up])
    (slope, _), covariance = np.polyfit(table[:, 0] / 1000, table[:, 1], 1, cov=True)
    return {
        "at_warm_up": table[0, 1],
        "at_end": table[-1, 1],
        "slope": slope,
        "half_width": 1.96 * float(np.sqrt(covariance[0, 0])),
        "samples": samples,
    }


if __name__ == "__main__":
    main()
