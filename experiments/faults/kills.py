"""Kill a run at random moments, go on each time, and compare it with one that was left alone."""

import argparse
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import kfgn_graph as kfgn
from experiments.faults.small import begin, finish, write_spec
from experiments.records import write_json

STARTING = 0.2
"""Share of kills at any time from a process's first moment; the rest come while it steps."""
PATIENCE = 300.0
HEADER, METRICS, CHECKPOINTS = "run.json", "metrics.jsonl", "checkpoints"
"""What a run's folder holds."""
UPDATE = b'"kind": "update"'


@dataclass
class Count:
    """What was seen.

    Attributes
    ----------
    kills : int
        Processes that were killed.
    while_stepping : int
        Of them, those that had taken an update.
    checkpoints : int
        Files that were read after a kill.
    unreadable : int
        Of them, those that could not be.
    drafts : int
        Kills that left a file half written beside the checkpoints.
    torn_lines : int
        Kills that left a line of metrics half written.
    restarts : int
        Runs that were begun anew, because the kill came before there was a folder.
    finished : int
        Runs that ended before they could be killed; the next kills were another run's.
    """

    kills: int = 0
    while_stepping: int = 0
    checkpoints: int = 0
    unreadable: int = 0
    drafts: int = 0
    torn_lines: int = 0
    restarts: int = 0
    finished: int = 0


def main() -> None:
    """Run the test; exit with 1 if anything differs or cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--updates", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--output", type=Path, default=Path("experiments/output/faults"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = kill_and_compare(
            Path(folder), options.kills, options.updates, options.seed, options.backend
        )
    record = {**vars(options), **found, "machine": kfgn.machine_record()}
    path = write_json(options.output / "kills.json", record | {"output": str(options.output)})
    for name, value in found.items():
        print(f"{name}: {value}")
    print(path)
    sys.exit(bool(found["unreadable"] or found["different"]))


def kill_and_compare(
    folder: Path, kills: int, updates: int, seed: int, backend: str = "auto"
) -> dict[str, Any]:
    """Return the counts, and what differs from the run that was left alone: nothing should."""
    spec = write_spec(folder, updates, backend=backend)
    began = time.perf_counter()
    done = finish("train", spec, "--runs", folder / "alone", "--quiet")
    assert done.returncode == 0, done.stderr
    alone = time.perf_counter() - began
    rng, count, different = random.Random(seed), Count(), []
    number = 0
    while count.kills < kills:
        number += 1
        run = _killed_run(spec, folder / f"killed-{number}", kills, rng, count, alone)
        different += compared(folder / "alone" / "small-1", run)
    return {**asdict(count), "runs": number, "seconds_alone": alone, "different": different}


def _killed_run(
    spec: Path, runs: Path, kills: int, rng: random.Random, count: Count, alone: float
) -> Path:
    """Train a run that is killed again and again; return its folder when it has ended."""
    run = runs / "small-1"
    while count.kills < kills:
        if (run / HEADER).is_file():
            process = begin("resume", run, "--quiet")
        else:
            count.restarts += bool(run.exists())
            run = _next_run(runs, run)
            process = begin("train", spec, "--runs", runs, "--quiet")
        if not _killed(process, run, rng, alone):
            assert process.returncode == 0, process.args
            count.finished += 1
            return run
        _inspect(run, count)
    done = finish("resume", run, "--quiet")
    assert done.returncode == 0, done.stderr
    return run


def _next_run(runs: Path, run: Path) -> Path:
    """Return the folder that the program will make: the first number that is not taken."""
    number = int(run.name.rpartition("-")[2])
    while (runs / f"small-{number}").exists():
        number += 1
    return runs / f"small-{number}"


def _killed(process: Any, run: Path, rng: random.Random, alone: float) -> bool:
    """Kill a process at a random moment; return whether it still ran."""
    if rng.random() < STARTING:
        time.sleep(rng.uniform(0, alone))
    else:
        _wait_for_steps(process, run / METRICS)
        time.sleep(rng.expovariate(4.0))
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def _wait_for_steps(process: Any, metrics: Path) -> None:
    """Wait until a process adds updates to the metrics, which it first cuts off, or ends."""
    began, before = time.perf_counter(), _stamp(metrics)
    sizes: list[int] = []
    while process.poll() is None and time.perf_counter() - began < PATIENCE:
        if _stamp(metrics) != before:
            sizes.append(metrics.stat().st_size)
            if sizes[-1] > sizes[0] and metrics.read_bytes()[sizes[0] :].count(UPDATE):
                return
        time.sleep(0.002)


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _inspect(run: Path, count: Count) -> None:
    """Read every checkpoint that a kill left."""
    count.kills += 1
    metrics = run / METRICS
    if metrics.exists():
        content = metrics.read_bytes()
        count.while_stepping += UPDATE in content
        count.torn_lines += not content.endswith(b"\n") and bool(content)
    count.drafts += any((run / CHECKPOINTS).glob("*.draft"))
    if not (run / HEADER).is_file():  # it is written before the first checkpoint
        return
    record = kfgn.read_run(run)
    for update, _ in record.checkpoints:
        count.checkpoints += 1
        try:
            record.state(update)
        except kfgn.CheckpointError as error:
            count.unreadable += 1
            print(error, file=sys.stderr)


def compared(alone: Path, other: Path) -> list[str]:
    """Return what differs in the last state and the metrics, which name no seconds."""
    runs = [kfgn.read_run(run) for run in (alone, other)]
    states = [run.state() for run in runs]
    different = [
        name
        for name in states[0].keys() | states[1].keys()
        if states[0][name].tobytes() != states[1][name].tobytes()
    ]
    tables = [run.updates for run in runs]
    columns = tables[0].keys() | tables[1].keys()
    different += [
        f"metrics {name}"
        for name in columns - {"seconds"}
        if not np.array_equal(tables[0][name], tables[1][name], equal_nan=True)
    ]
    evaluations = [[{**e, "seconds": 0} for e in run.evaluations] for run in runs]
    return different + ["evaluations"] * (evaluations[0] != evaluations[1])


if __name__ == "__main__":
    main()
