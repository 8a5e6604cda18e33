"""Optional TensorBoard event files in a run's folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kfgn_graph.errors import BackendError
from kfgn_graph.program.storage import refuse_links, written

FOLDER = "tensorboard"
PLACE = ("kind", "update", "seconds")


class EventFile:
    """A TensorBoard event file of scalars by update.

    Parameters
    ----------
    run : Path
        The run's folder.
    update : int
        Number of updates done. TensorBoard hides earlier records of later updates.

    Raises
    ------
    BackendError
        tensorboardX is not installed.
    CheckpointError
        The folder cannot be written, or is a symbolic link.
    """

    def __init__(self, run: Path, update: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise BackendError(
                "record.tensorboard needs tensorboardX: pip install tensorboardX."
            ) from error
        self._path = run / FOLDER
        refuse_links([self._path])
        with written(self._path):
            self._writer = SummaryWriter(
                str(self._path), purge_step=update + 1 if update else None
            )

    def add(self, line: Mapping[str, Any]) -> None:
        """Add the finite numbers of a metrics line."""
        with written(self._path):
            for name, value in line.items():
                if name not in PLACE and value is not None and math.isfinite(value):
                    self._writer.add_scalar(f"{line['kind']}/{name}", value, line["update"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with written(self._path):
            self._writer.close()
