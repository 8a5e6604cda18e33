"""The metrics file of a run: one JSON object per line, for every update and every evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from kfgn_graph.program.metrics_lines import Line, complete_lines, leading_lines, parsed_line
from kfgn_graph.program.storage import open_to_append, synchronise, written

FLAGS = ("skipped", "rejected", "clamped", "flat")


def update_line(
    update: int, seconds: float, loss: float, statistics: Mapping[str, float]
) -> dict[str, Any]:
    """Return the metrics line of an update.

    Parameters
    ----------
    update : int
        Number of the update, from 1.
    seconds : float
        Seconds spent on updates so far.
    loss : float
        Loss of the batch before the update.
    statistics : mapping
        Statistics that the method reports.
    """
    told = {k: bool(v) if k in FLAGS else v for k, v in statistics.items()}
    return {"kind": "update", "update": update, "seconds": seconds, **told, "loss": loss}


class MetricsFile:
    """A metrics file opened for appending.

    Parameters
    ----------
    path : Path
        The file; it is created if it does not exist.
    update : int
        The last update to keep; lines of later updates are removed first. -1 removes all lines.

    Attributes
    ----------
    evaluated : int
        The update of the last evaluation; -1 before the first.

    Raises
    ------
    CheckpointError
        A line to keep is damaged or missing (the file is unchanged then), or the file cannot be
        written.
    """

    def __init__(self, path: Path, update: int) -> None:
        kept = leading_lines(path, update)
        self._path = path
        self._length = kept.length
        self._hash = kept.hash
        self.evaluated = kept.evaluated
        self._stream = open_to_append(path)
        with written(path):
            self._stream.truncate(kept.length)

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line, with null for every number that is not finite, and 0 for -0."""
        text = json.dumps({k: _json(v) for k, v in line.items()}, allow_nan=False)
        content = text.encode() + b"\n"
        with written(self._path):
            self._stream.write(content)
            self._stream.flush()
        self._length += len(content)
        self._hash.update(content)
        if line["kind"] == "evaluation":
            self.evaluated = line["update"]

    def record(self) -> dict[str, Any]:
        """Return the length of the file in bytes and its SHA-256, for a checkpoint's header."""
        return {"bytes": self._length, "sha256": self._hash.hexdigest()}

    def synchronise(self) -> None:
        """Wait until all lines are on the disk."""
        with written(self._path):
            synchronise(self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with written(self._path):
            self._stream.close()


def read_metrics(path: Path) -> tuple[dict[str, np.ndarray], list[Line]]:
    """Return the updates of a run as one array per column, and its evaluations as a list.

    Columns are float64, with NaN for null. An incomplete last line is ignored.

    Raises
    ------
    CheckpointError
        The file cannot be read, or a line is not a metrics line.
    """
    updates: list[Line] = []
    evaluations: list[Line] = []
    for line in _lines(path):
        (updates if line["kind"] == "update" else evaluations).append(line)
    names = dict.fromkeys(name for line in updates for name in line if name != "kind")
    columns = {
        name: np.array([_number(line.get(name)) for line in updates], np.float64) for name in names
    }
    return columns, evaluations


def _lines(path: Path) -> list[Line]:
    return [parsed_line(path, k, text) for k, text in enumerate(complete_lines(path), start=1)]


def _json(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return value + 0.0 if math.isfinite(value) else None  # -0.0 + 0.0 is 0.0


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
