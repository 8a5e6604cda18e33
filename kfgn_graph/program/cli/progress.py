"""How training is shown: a bar on a terminal, else a line an evaluation."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kfgn_graph.program.evaluation import Evaluation


class Lines:
    """A line an evaluation, for logs."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Tell where the run is written, and what ends it."""
        ends = [] if limit is None else [f"update {limit:,}"]
        ends += [] if seconds is None else [f"{seconds:g} s"]
        self._out.print(f"{escape(str(path))}: after update {update:,}, until {' or '.join(ends)}")

    def updated(self, update: int, seconds: float, loss: float, damping: float | None) -> None:
        """Show nothing: there are too many."""

    def evaluated(self, update: int, found: Evaluation) -> None:
        """Print what was found."""
        line = f"update {update:,}: loss {found.loss:.6g}"
        if found.averaged_loss is not None:
            line += f", of the averaged iterates {found.averaged_loss:.6g}"
        if found.accuracy is not None:
            line += f", accuracy {found.accuracy:.2%}"
        self._out.print(line)

    def noted(self, text: str) -> None:
        """Print it."""
        self._out.print(escape(text))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the lines as they are."""


class Silence(Lines):
    """Nothing but what the user should know."""

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Show nothing."""

    def evaluated(self, update: int, found: Evaluation) -> None:
        """Show nothing."""


class Bar(Lines):
    """The lines, and below them a bar with loss, lambda, rate and the time that remains."""

    def __init__(self, out: Console) -> None:
        super().__init__(out)
        self._bar = Progress(
            TextColumn("[bold]update"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=out,
        )
        self._task = self._bar.add_task("training", total=None, told="")
        self._began = (0, 0.0)

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Begin the bar where the run is."""
        super().started(path, update, limit, seconds)
        self._bar.update(self._task, total=limit, completed=update)
        self._bar.start()

    def updated(self, update: int, seconds: float, loss: float, damping: float | None) -> None:
        """Move the bar; the rate is counted from the first update of this session."""
        if self._began == (0, 0.0):
            self._began = (update, seconds)
        told = f"loss {loss:.5g}"
        if damping is not None:
            told += f"  λ {damping:.2g}"
        taken, spent = update - self._began[0], seconds - self._began[1]
        if taken and spent:
            told += f"  {taken / spent:.3g}/s"
        self._bar.update(self._task, completed=update, told=told)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
