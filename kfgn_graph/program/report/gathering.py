"""The content of a report about a run: data for its charts, and facts for its text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.archives import Archive, Unreadable
from kfgn_graph.program.comparison import Summary, summarise
from kfgn_graph.program.runs import RunRecord

Arrays = dict[str, np.ndarray]
MOST_UPDATES = 10_000
MOST_SNAPSHOTS = 12
MOST_RANKS = 128
DIGITS = 7
CURVES = (
    "loss",
    "damping",
    "gamma",
    "step_scale",
    "momentum",
    "reduction_ratio",
    "gradient_norm",
    "update_norm",
)
COUNTED = ("skipped", "rejected", "clamped")
SPECTRUM = "spectrum/"
_WANTED: dict[str, tuple[int, str, float]] = {
    SPECTRUM: (1, "f", math.inf),
    "examples": (2, "f", 10**6),
    "predictions": (2, "f", 10**6),
    "confusion": (2, "iu", 10**4),
}
"""For each array of a snapshot: its dimensions, the kinds of its type, its greatest length."""


@dataclass(frozen=True)
class Gathered:
    """The content of a report about a run.

    Attributes
    ----------
    record : RunRecord
        The run.
    summary : Summary
        The summary of the run, which includes its name.
    charts : dict
        The JSON-serialisable data of its charts: floor, stride, updates, evaluations, spectra.
    counts : dict of str to int
        The numbers of updates that were skipped, rejected or clamped, if the run records them.
    last : tuple of int and dict, or None
        The update and the arrays of the last snapshot that is shown.
    """

    record: RunRecord
    summary: Summary
    charts: dict[str, Any]
    counts: dict[str, int]
    last: tuple[int, Arrays] | None


def gather(record: RunRecord, label: str) -> Gathered:
    """Read the files of a run, and return the content of its report.

    Raises
    ------
    CheckpointError
        A file of the run cannot be read.
    """
    updates = record.updates
    snapshots = [(k, read_snapshot(path)) for k, path in _spread(record.snapshots)]
    stride = max(1, math.ceil(len(updates.get("update", ())) / MOST_UPDATES))
    charts = {
        "label": label,
        "floor": float(record.header["floor"]),
        "stride": stride,
        "updates": {
            name: numbers(_thinned(_shown(name, updates[name]), stride))
            for name in ("update", "seconds", *CURVES)
            if name in updates and np.isfinite(updates[name]).any()
        },
        "evaluations": _evaluations(record),
        "spectra": [
            {"update": update, "factors": found}
            for update, arrays in snapshots
            if (found := _spectra(arrays))
        ],
    }
    counts = {name: int(np.nansum(updates[name])) for name in COUNTED if name in updates}
    last = snapshots[-1] if snapshots else None
    return Gathered(record, summarise(record, label), charts, counts, last)


def read_snapshot(path: Path) -> Arrays:
    """Return the arrays of a snapshot.

    Raises
    ------
    CheckpointError
        The snapshot cannot be read.
    """
    try:
        with Archive(path) as file:
            arrays = {name: file[name] for name in file.names}
        _check_snapshot(arrays)
    except Unreadable as error:
        raise CheckpointError(
            f"cannot read {path}: {error}. Remove it to report the rest of the run."
        ) from error
    return arrays


def _check_snapshot(arrays: Arrays) -> None:
    """Raise :class:`Unreadable` unless arrays have the shapes and types of a snapshot's."""
    for name, array in arrays.items():
        key = SPECTRUM if name.startswith(SPECTRUM) else name
        if key not in _WANTED:
            continue
        wanted, kinds, most = _WANTED[key]
        if (
            array.ndim != wanted
            or array.dtype.kind not in kinds
            or not 0 < max(array.shape) <= most
        ):
            raise Unreadable(f"{name} is {array.dtype} {array.shape}, which no snapshot has")
    confusion = arrays.get("confusion")
    if confusion is not None and confusion.shape != confusion.T.shape:
        raise Unreadable(f"confusion has the shape {confusion.shape}, which is not square")


def numbers(values: np.ndarray) -> list[float | None]:
    """Return numbers for JSON, rounded to seven digits. Values that are not finite are None."""
    return [
        float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
        for value in values.astype(np.float64).tolist()
    ]


def _evaluations(record: RunRecord) -> dict[str, list[float | None]]:
    names = ("update", "seconds", "loss", "averaged_loss", "accuracy")
    table = {name: [line.get(name) for line in record.evaluations] for name in names}
    return {
        name: numbers(np.array([math.nan if v is None else v for v in column]))
        for name, column in table.items()
        if any(value is not None for value in column)
    }


def _spectra(arrays: Arrays) -> list[dict[str, Any]]:
    """Return the eigenvalues by layer and factor, at ranks with even spacing on a log scale."""
    found = []
    for name, values in arrays.items():
        if name.startswith(SPECTRUM):
            layer, _, factor = name.removeprefix(SPECTRUM).rpartition("/")
            ranks = _ranks(len(values))
            shown = numbers(values[ranks])
            found.append(
                {
                    "layer": layer,
                    "factor": factor,
                    "ranks": (ranks + 1).tolist(),
                    "values": shown,
                }
            )
    return found


def _ranks(count: int) -> np.ndarray:
    if count <= MOST_RANKS:
        return np.arange(count)
    return np.unique(np.geomspace(1, count, MOST_RANKS).round().astype(np.int64)) - 1


def _spread(snapshots: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """Return at most ``MOST_SNAPSHOTS`` snapshots, including the first and the last."""
    if len(snapshots) <= MOST_SNAPSHOTS:
        return snapshots
    chosen = np.linspace(0, len(snapshots) - 1, MOST_SNAPSHOTS).round().astype(int)
    return [snapshots[index] for index in chosen]


def _shown(name: str, values: np.ndarray) -> np.ndarray:
    """Return a curve. The reduction ratio keeps its value until it is measured again."""
    if name != "reduction_ratio":
        return values
    measured = np.where(np.isfinite(values), np.arange(len(values)), 0)
    return values[np.maximum.accumulate(measured)]


def _thinned(values: np.ndarray, stride: int) -> np.ndarray:
    """Return every ``stride``-th value, and the last one."""
    return np.append(values[:-1:stride], values[-1:])
