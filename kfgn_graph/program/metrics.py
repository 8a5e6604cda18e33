"""The metrics file of a run: one JSON object per line, for every update and every evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.storage import synchronise, written

Line = dict[str, Any]
FLAGS = ("skipped", "rejected", "clamped")


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
        The last update to keep; lines of later updates are removed first.

    Raises
    ------
    CheckpointError
        The file cannot be written.
    """

    def __init__(self, path: Path, update: int) -> None:
        self._path = path
        with written(path):
            self._stream = path.open("ab")
            self._stream.truncate(_length_until(path, update))

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line, with null for every number that is not finite."""
        text = json.dumps({k: _finite(v) for k, v in line.items()}, allow_nan=False)
        with written(self._path):
            self._stream.write(text.encode() + b"\n")
            self._stream.flush()

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
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}.") from error
    lines = []
    for number, text in enumerate(whole.splitlines(), start=1):
        try:
            line = json.loads(text)
            known = line["kind"] in ("update", "evaluation") and isinstance(line["update"], int)
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise CheckpointError(
                f"{path}, line {number}: not a metrics line. Remove it to read the rest."
            )
        lines.append(line)
    return lines


def _length_until(path: Path, update: int) -> int:
    """Return the length in bytes of the leading complete lines up to and including an update."""
    length = 0
    with path.open("rb") as stream:
        for text in stream:
            try:
                line = json.loads(text)
                kept = text.endswith(b"\n") and line["update"] <= update
            except (ValueError, KeyError, TypeError):
                kept = False
            if not kept:
                break
            length += len(text)
    return length


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
