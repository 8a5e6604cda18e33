"""The curves of a study's runs: kept as compressed CSV, smoothed, ranked and averaged."""

import csv
import gzip
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np

import kfgn_graph as kfgn
from experiments.records import write_json
from experiments.studies import Task, complete_run

WINDOW = 10
"""Updates that a point of a picture is the mean of, as in the paper."""
CURVES, RUNS = "curves.csv.gz", "runs.json"
DIGITS = 7


@dataclass(frozen=True)
class RunCurve:
    """What a study keeps of a run.

    Attributes
    ----------
    problem, setting : str
        As of :class:`Task`.
    seed : int
        Of the run.
    rule : str
        Name of the first-order rule; empty for second-order methods.
    floor : float
        The least loss that is possible.
    seconds, losses : ndarray, shape (T,)
        Seconds of updates after each update, and the loss of its batch before it; NaN where it
        was not finite.
    evaluations : tuple of (int, float, float)
        Update, seconds and training-set loss of each evaluation; NaN where it was not finite.
    machine : dict
        The processor and the versions that the run was made with.
    """

    problem: str
    setting: str
    seed: int
    rule: str
    floor: float
    seconds: np.ndarray
    losses: np.ndarray
    evaluations: tuple[tuple[int, float, float], ...]
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> float:
        """Training-set loss at the end; infinite for a run that diverged."""
        loss = self.evaluations[-1][2]
        return loss if math.isfinite(loss) else math.inf

    @property
    def seconds_per_update(self) -> float:
        """Mean over all updates but the first."""
        return float(self.seconds[-1] - self.seconds[0]) / max(1, len(self.seconds) - 1)


def curve_of(each: Task, record: kfgn.RunRecord) -> RunCurve:
    """Return what is kept of a task's run."""
    evaluations = tuple(
        (int(e["update"]), float(e["seconds"]), math.nan if e["loss"] is None else e["loss"])
        for e in record.evaluations
    )
    return RunCurve(
        each.problem,
        each.setting,
        each.seed,
        getattr(each.optimiser, "rule", ""),
        float(record.header["floor"]),
        record.updates["seconds"],
        record.updates["loss"],
        evaluations,
        {name: record.header["machine"].get(name) for name in ("processor", "cpus", "versions")},
    )


def complete_curves(wanted: Iterable[Task], folder: Path) -> list[RunCurve]:
    """Return the curves of the tasks whose runs are complete."""
    found = ((each, complete_run(each, folder)) for each in wanted)
    return [curve_of(each, record) for each, record in found if record is not None]


def write_curves(curves: Sequence[RunCurve], folder: Path) -> list[Path]:
    """Write every update's loss to ``curves.csv.gz``, the rest of the runs to ``runs.json``.

    The same curves give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    machines: list[dict[str, Any]] = []
    for curve in curves:
        if curve.machine not in machines:
            machines.append(curve.machine)
    runs = [
        {
            "problem": curve.problem,
            "setting": curve.setting,
            "seed": curve.seed,
            "rule": curve.rule,
            "floor": curve.floor,
            "evaluations": [list(e) for e in curve.evaluations],
            "machine": machines.index(curve.machine),
        }
        for curve in curves
    ]
    described = write_json(folder / RUNS, {"runs": runs, "machines": machines})
    return [_write_losses(curves, folder / CURVES), described]


def _write_losses(curves: Sequence[RunCurve], path: Path) -> Path:
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        TextIOWrapper(packed, "utf-8", newline="") as text,
    ):
        rows = csv.writer(text)
        rows.writerow(["run", "update", "seconds", "loss"])
        for index, curve in enumerate(curves):
            for k, (seconds, loss) in enumerate(zip(curve.seconds, curve.losses, strict=True), 1):
                rows.writerow([index, k, f"{seconds:.{DIGITS}g}", f"{loss:.{DIGITS}g}"])
    return path


def read_curves(folder: Path) -> list[RunCurve]:
    """Read what :func:`write_curves` wrote."""
    kept = json.loads((folder / RUNS).read_text(encoding="utf-8"))
    runs = kept["runs"]
    columns: list[list[tuple[float, float]]] = [[] for _ in runs]
    with gzip.open(folder / CURVES, "rt", encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            columns[int(row["run"])].append((float(row["seconds"]), float(row["loss"])))
    return [
        RunCurve(
            run["problem"],
            run["setting"],
            run["seed"],
            run["rule"],
            run["floor"],
            *np.array(column, dtype=float).reshape(-1, 2).T,
            tuple(
                (int(k), s, math.nan if loss is None else loss)
                for k, s, loss in run["evaluations"]
            ),
            kept["machines"][run["machine"]],
        )
        for run, column in zip(runs, columns, strict=True)
    ]


def mean_curve(curves: Sequence[RunCurve]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean seconds and the mean of the smoothed losses of runs, at equal updates.

    The runs are cut to the shortest.
    """
    length = min(len(curve.losses) for curve in curves)
    seconds = np.mean([curve.seconds[:length] for curve in curves], axis=0)
    losses = np.mean(
        [kfgn.sliding_mean(curve.losses, WINDOW)[:length] for curve in curves], axis=0
    )
    return seconds, losses


def ranked(curves: Iterable[RunCurve]) -> list[RunCurve]:
    """Return runs by their final training-set loss, the best first; those that diverged last."""
    return sorted(curves, key=lambda curve: (curve.final, curve.setting))


def updates_to(curve: RunCurve, loss: float) -> int | None:
    """Return the number of updates after which the smoothed batch loss is at most ``loss``."""
    reached = np.flatnonzero(kfgn.sliding_mean(curve.losses, WINDOW) <= loss)
    return int(reached[0]) if len(reached) else None
