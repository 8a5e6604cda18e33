"""Comparison of runs: their losses, their speed, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kfgn_graph.program.explanation.timing import period_of
from kfgn_graph.program.runs import RunRecord

Document = dict[str, Any]
NOTHING = "–"
_NO_SETTINGS = ("name", "record", "budget")
_Best = Callable[[Sequence[float]], float]

#: For each column of a table: title, field of the summary, number format, and the function that
#: chooses the best value.
_COLUMNS: tuple[tuple[str, str, str, _Best | None], ...] = (
    ("loss", "final_loss", ".6g", min),
    ("averaged", "averaged_loss", ".6g", min),
    ("best", "best_loss", ".6g", min),
    ("at", "best_update", ",", None),
    ("accuracy", "accuracy", ".2%", max),
    ("updates", "updates", ",", None),
    ("s", "seconds", ",.1f", None),
    ("s/update", "seconds_an_update", ".2g", min),
)


@dataclass(frozen=True)
class Summary:
    """The results of a run; a field is None where the run has no such value.

    Attributes
    ----------
    run : str
        Label of the run.
    final_loss : float or None
        Mean loss over the training set at the last evaluation.
    best_loss : float or None
        Smallest loss of all evaluations.
    best_update : int or None
        Update of the evaluation with the smallest loss.
    averaged_loss : float or None
        Mean loss over the training set at the averaged iterates, at the last evaluation.
    accuracy : float or None
        Accuracy at the last evaluation.
    updates : int
        Number of updates done.
    seconds : float or None
        Seconds spent on updates, without compilation.
    seconds_an_update : float or None
        Seconds per update; see :func:`seconds_an_update`.
    """

    run: str
    final_loss: float | None
    best_loss: float | None
    best_update: int | None
    averaged_loss: float | None
    accuracy: float | None
    updates: int
    seconds: float | None
    seconds_an_update: float | None

    def as_dict(self) -> Document:
        """Return the fields as a dict, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Column:
    """A column of a table of summaries.

    Attributes
    ----------
    title : str
        Heading of the column.
    cells : list of str
        Text of each run's cell.
    best : list of bool
        For each run, whether its value is the best.
    """

    title: str
    cells: list[str]
    best: list[bool]


def columns(found: Sequence[Summary], alike: bool) -> list[Column]:
    """Return the columns in which at least one run has a value.

    Parameters
    ----------
    found : sequence of Summary
        The runs.
    alike : bool
        Whether the runs are comparable. If not, no value is marked as the best.
    """
    made = []
    for title, field, form, best in _COLUMNS:
        values = [getattr(summary, field) for summary in found]
        there = [value for value in values if value is not None]
        if not there:
            continue
        winner = best(there) if alike and best and len(set(there)) > 1 else None
        cells = [NOTHING if value is None else format(value, form) for value in values]
        made.append(Column(title, cells, [winner is not None and v == winner for v in values]))
    return made


def setting_text(value: Any) -> str:
    """Return a setting's value as text for a table."""
    if value is None:
        return NOTHING
    if isinstance(value, list):
        return ", ".join(map(setting_text, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def summarise(record: RunRecord, label: str) -> Summary:
    """Return the results of a run under a label."""
    last = record.evaluations[-1] if record.evaluations else {}
    finite = [line for line in record.evaluations if line["loss"] is not None]
    best = min(finite, key=lambda line: float(line["loss"]), default={"loss": None})
    updates = record.updates.get("update", np.empty(0))
    seconds = record.updates.get("seconds", np.empty(0))
    return Summary(
        run=label,
        final_loss=last.get("loss"),
        best_loss=best["loss"],
        best_update=best.get("update"),
        averaged_loss=last.get("averaged_loss"),
        accuracy=last.get("accuracy"),
        updates=int(updates[-1]) if len(updates) else 0,
        seconds=float(seconds[-1]) if len(seconds) else None,
        seconds_an_update=seconds_an_update(seconds, period_of(record.spec)),
    )


def seconds_an_update(seconds: np.ndarray, updates: int) -> float | None:
    """Return the seconds per update: the median over complete periods of their mean.

    The first update is left out, since it may include compilation, and so is an incomplete last
    period. Without a complete period the result is the mean; with fewer than two updates it is
    None.

    Parameters
    ----------
    seconds : ndarray, shape (T,)
        Cumulative seconds after each update.
    updates : int
        Number of updates in a period of the schedule.
    """
    if len(seconds) < 2:
        return None
    ends = seconds[::updates]
    if len(ends) < 2:
        return float(seconds[-1] - seconds[0]) / (len(seconds) - 1)
    return float(np.median(np.diff(ends))) / updates


def labels(paths: Sequence[Path]) -> list[str]:
    """Return a label for each run: its folder's name, or its path if the names are not unique."""
    names = [path.resolve().name for path in paths]
    if len(set(names)) == len(names):
        return names
    return [str(path) for path in paths]


def comparable(records: Sequence[RunRecord]) -> bool:
    """Return whether all runs have the same loss and the same data."""

    def measured(record: RunRecord) -> tuple[Any, ...]:
        return record.spec.loss, record.spec.graph, record.header.get("data_sha256")

    return len({measured(record) for record in records}) == 1


def differences(records: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Return the settings that differ: by dotted key, the value of each run, or None.

    The name, the budget and the record of a spec are not compared. Of the machine, the processor,
    the threads and the versions of packages are compared.
    """
    settings = [_settings(record) for record in records]
    keys = dict.fromkeys(key for found in settings for key in found)
    values = {key: [found.get(key) for found in settings] for key in keys}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


def _settings(record: RunRecord) -> Document:
    spec = record.spec.model_dump(mode="json")
    machine = record.header.get("machine", {})
    told = {k: machine[k] for k in ("processor", "cpus", "thread_settings") if k in machine}
    return {
        **dict(_flat({k: v for k, v in spec.items() if k not in _NO_SETTINGS})),
        **dict(_flat({"machine": told, "versions": machine.get("versions", {})})),
    }


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables with their dotted keys."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value
