"""The measurements of the study: a process and a file for each network."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import kfgn_graph as kfgn
from experiments.cost.sweeps import Point
from experiments.cost.updates import candidates, predicted_gemms
from experiments.environments import run_script
from experiments.peers.training import write_task
from experiments.records import write_json
from experiments.training import parameter_values

Record = dict[str, Any]
WORKER = Path(__file__).with_name("worker.py")
ONE_THREAD = {"NPROC": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""One thread for XLA, for NumPy and for LAPACK."""
SETUP, UNIT = 4.0, 0.07
"""Typical seconds to compile and predict an update, and of a product, for the remaining time."""


def measure_points(
    points: Sequence[Point], rounds: int, folder: Path, console: Console, fresh: bool = False
) -> list[Record]:
    """Measure the points that have no file yet, and return the records of all.

    Parameters
    ----------
    points : sequence of Point
        What is measured.
    rounds : int
        Timed samples of each update.
    folder : Path
        A file for each point.
    console : Console
        Of the progress bar.
    fresh : bool
        Whether points that have a file are measured again.

    Raises
    ------
    RuntimeError
        The process of a point failed; its last lines are in the message.
    """
    records = {}
    for point in points:
        kept = None if fresh else read_record(path_of(point, folder), point, rounds)
        if kept is not None:
            records[point] = kept
    missing = [point for point in points if point not in records]
    with _bar(missing, rounds, console) as advance:
        for point in missing:
            advance(point, begins=True)
            records[point] = record_of(point, rounds)
            write_json(path_of(point, folder), records[point])
            advance(point, begins=False)
    return [records[point] for point in points]


def path_of(point: Point, folder: Path) -> Path:
    """Return the file of a point."""
    return folder / f"{point.sweep}-{point.value}.json"


def settings_of(point: Point, rounds: int) -> dict[str, Any]:
    """Return the settings of a point's process."""
    net = asdict(point.net) | {"sizes": list(point.net.sizes)}
    layers = len(point.net.sizes) - 1
    return {**net, "layers": layers, "schedules": list(point.schedules), "rounds": rounds}


def read_record(path: Path, point: Point, rounds: int) -> Record | None:
    """Return the record of a point, or None if it is missing or of other settings or hardware."""
    if not path.is_file():
        return None
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    here = kfgn.machine_record()
    same_machine = all(record["machine"][name] == here[name] for name in ("processor", "cpus"))
    return record if same_machine and record["settings"] == settings_of(point, rounds) else None


def record_of(point: Point, rounds: int) -> Record:
    """Measure all updates of a point in one process."""
    settings, (x, y) = settings_of(point, rounds), point.net.data()
    with tempfile.TemporaryDirectory() as name:
        task, answer = Path(name) / "task.npz", Path(name) / "answer.json"
        write_task(task, parameter_values(point.net.network()), x, settings, y)
        environment = {**ONE_THREAD, "JAX_PLATFORMS": "cpu"}
        arguments = [str(task), str(answer)]
        run_script(Path(sys.executable), WORKER, arguments, point.net.name, environment)
        updates = json.loads(answer.read_text(encoding="utf-8"))
    return {
        "sweep": point.sweep,
        "value": point.value,
        "settings": settings,
        "machine": kfgn.machine_record(),
        "updates": updates,
    }


def expected_seconds(point: Point, rounds: int) -> float:
    """Return a rough time of a point, for the progress bar."""
    chosen = list(candidates(point.schedules))
    calls = {candidate: candidate.case(point.net).period for candidate in chosen}
    gemms = sum(count * predicted_gemms(point.net, c) for c, count in calls.items())
    return len(chosen) * (SETUP + UNIT * rounds) + UNIT * (rounds + 3) * gemms


@contextmanager
def _bar(points: Sequence[Point], rounds: int, console: Console) -> Iterator[Any]:
    """Show the progress with the remaining time; plain lines where there is no terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    total, done = sum(expected_seconds(point, rounds) for point in points), 0.0
    began = time.perf_counter()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Cost", total=total)

        def advance(point: Point, begins: bool) -> None:
            nonlocal done
            if begins:
                progress.update(task, description=f"{point.sweep} {point.value}")
                return
            done += expected_seconds(point, rounds)
            progress.update(task, completed=done)
            if not console.is_terminal:
                taken = time.perf_counter() - began
                left = taken * (total - done) / done / 60
                console.print(f"{point.sweep} {point.value}; about {left:.0f} min left")

        yield advance
