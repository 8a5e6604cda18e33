"""The time of an update of every setting of a study, measured in alternation.

A study of many hours shares its machine with other programs, and the speeds of its runs cannot
be compared. Here every setting trains in a process that waits for its turn: all settings make the
same number of updates, one after the other, in several rounds. The time of an update is the median
over the rounds.

``python -m experiments.update_times SPEC PART`` is the process of one setting.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import track

import kfgn_graph as kfgn
from experiments.curves import RunCurve
from experiments.records import write_json
from experiments.studies import ROOT, Task

PART = 20
"""Updates of a turn: a whole number of periods of every schedule."""
ROUNDS = 7
FILE = "update_times.json"
Times = Mapping[str, Mapping[str, float]]
"""Seconds of an update by problem and kind of setting."""


def kind_of(setting: str, rule: str) -> str:
    """Return what settings of equal cost have in common: a first-order rule, or the setting."""
    return rule or setting


def one_of_each_kind(tasks: Iterable[Task]) -> dict[tuple[str, str], Task]:
    """Return a task for each problem and kind of setting."""
    found: dict[tuple[str, str], Task] = {}
    for each in tasks:
        rule = getattr(each.optimiser, "rule", "")
        found.setdefault((each.problem, kind_of(each.setting, rule)), each)
    return found


def measure(tasks: Iterable[Task], console: Console) -> dict[str, dict[str, float]]:
    """Return the seconds of an update of each kind of setting, problem by problem."""
    times: dict[str, dict[str, float]] = {}
    by_problem: dict[str, dict[str, Task]] = {}
    for (problem, kind), each in one_of_each_kind(tasks).items():
        by_problem.setdefault(problem, {})[kind] = each
    for problem, kinds in by_problem.items():
        with _waiting(kinds) as processes:
            rounds = range(ROUNDS + 1)  # the first has the compilation
            turns = [
                {kind: _turn(process) for kind, process in processes.items()}
                for _ in track(rounds, f"{problem}: rounds", console=console)
            ]
        times[problem] = {kind: median(turn[kind] for turn in turns[1:]) for kind in kinds}
    return times


@contextmanager
def _waiting(kinds: Mapping[str, Task]) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start a process for each setting, and end them all."""
    processes: dict[str, subprocess.Popen[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for kind, each in kinds.items():
                spec = Path(folder) / f"{kind}.json"
                spec.write_text(_long(each).model_dump_json(), encoding="utf-8")
                command = [sys.executable, "-m", "experiments.update_times", str(spec), str(PART)]
                processes[kind] = subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            yield processes
        finally:
            for process in processes.values():
                process.kill()
                process.communicate()


def _long(each: Task) -> kfgn.GraphSpec:
    """Return the spec with as many updates as are timed, and without evaluations between."""
    updates = PART * (ROUNDS + 2)
    record = {"evaluate_every": updates, "checkpoint_every": updates, "keep": 1}
    tables = each.spec.model_dump(mode="json", exclude_unset=True)
    return kfgn.GraphSpec.model_validate(
        {**tables, "budget": {"updates": updates}, "record": record}
    )


def _turn(process: subprocess.Popen[str]) -> float:
    """Let a process make its next updates; return the seconds of one."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"{process.args} ended: run it by itself to see why")
    return float(answer)


def rescaled(curves: Sequence[RunCurve], times: Times) -> list[RunCurve]:
    """Return the runs with their seconds scaled to the measured time of an update.

    A run of a setting that was not measured is returned as it is.
    """
    found = []
    for curve in curves:
        seconds = times.get(curve.problem, {}).get(kind_of(curve.setting, curve.rule))
        if seconds is None or curve.seconds_per_update == 0:
            found.append(curve)
            continue
        factor = seconds / curve.seconds_per_update
        evaluations = tuple((u, s * factor, loss) for u, s, loss in curve.evaluations)
        scaled = curve.seconds * factor
        found.append(replace(curve, seconds=scaled, evaluations=evaluations))
    return found


def write_times(times: Times, folder: Path) -> Path:
    """Write measured times to a folder of results, beside the machine that they are of."""
    return write_json(folder / FILE, {"seconds": times, "machine": kfgn.machine_record()})


def read_times(folder: Path) -> Times:
    """Return the measured times of a folder of results; empty if there are none."""
    path = folder / FILE
    return json.loads(path.read_text(encoding="utf-8"))["seconds"] if path.is_file() else {}


def _worker(spec: Path, part: int) -> None:
    """Train, and wait for a line of input before each part of so many updates."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    last = [0.0]
    sys.stdin.readline()

    def on_update(update: int, seconds: float, loss: float) -> None:
        if update % part == 0:
            answers.write(f"{(seconds - last[0]) / part}\n")
            answers.flush()
            last[0] = seconds
            if not sys.stdin.readline():
                os._exit(0)

    parsed = kfgn.GraphSpec.model_validate_json(spec.read_text(encoding="utf-8"))
    kfgn.train_run(parsed, spec.parent, folder=ROOT, on_update=on_update)


if __name__ == "__main__":
    _worker(Path(sys.argv[1]), int(sys.argv[2]))
