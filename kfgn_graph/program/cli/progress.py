"""Progress of training: a bar on a terminal, and one line per evaluation elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from kfgn_graph.program.cli.common import escape
from kfgn_graph.program.evaluation import Evaluation


class Lines:
    """One line per evaluation, for logs."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Print the folder of the run and the limits that end it, or that a limit is reached."""
        if limit is None:
            told = f"from update {update + 1:,}, until {seconds:g} s"
        elif update >= limit:
            told = f"the budget of {limit:,} updates is met; `--updates N` continues"
        else:
            told = f"updates {update + 1:,} to {limit:,}"
            told += "" if seconds is None else f", or until {seconds:g} s"
        self._out.print(f"{escape(str(path))}: {told}")

    def compiling(self, seconds: float | None) -> None:
        """Print that the step is being compiled, and then how long it took."""
        self._out.print("compiling" if seconds is None else f"compiled {seconds:.1f} s")

    def updated(self, update: int, seconds: float, loss: float, damping: float | None) -> None:
        """Print nothing, since one line per update would be too many."""

    def evaluated(self, update: int, found: Evaluation) -> None:
        """Print the loss and the accuracy."""
        line = f"update {update:,}: loss {_number(found.loss, 6)}"
        if found.averaged_loss is not None:
            line += f", at the averaged iterates {_number(found.averaged_loss, 6)}"
        if found.accuracy is not None:
            line += f", accuracy {found.accuracy:.2%}"
        self._out.print(line)

    def noted(self, text: str) -> None:
        """Print a note."""
        self._out.print(escape(text))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing: lines need no clean-up."""


def _number(value: float, digits: int) -> str:
    """Return a number with significant digits, and 0 without a sign."""
    return f"{value + 0.0:.{digits}g}"  # -0.0 + 0.0 is 0.0


class Silence(Lines):
    """Notes only, without lines for evaluations."""

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Show nothing."""

    def compiling(self, seconds: float | None) -> None:
        """Show nothing."""

    def evaluated(self, update: int, found: Evaluation) -> None:
        """Show nothing."""


class Bar(Lines):
    """The lines, and below them a bar with the loss, lambda, speed and remaining time."""

    def __init__(self, out: Console) -> None:
        super().__init__(out)
        self._bar = Progress(
            TextColumn("[bold]update {task.fields[place]}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=out,
        )
        self._task = self._bar.add_task("training", total=1.0, told="", place="")
        self._began = (0, 0.0)
        self._limits: tuple[int | None, float | None] = (None, None)

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Start the bar at the run's current update."""
        super().started(path, update, limit, seconds)
        self._limits = limit, seconds
        self._advance(update, 0.0, "")
        self._bar.start()

    def compiling(self, seconds: float | None) -> None:
        """Say so on the bar, and print the duration above it."""
        self._bar.update(self._task, told="compiling" if seconds is None else "")
        if seconds is not None:
            super().compiling(seconds)

    def updated(self, update: int, seconds: float, loss: float, damping: float | None) -> None:
        """Advance the bar. The speed is an average from the first update of this session on."""
        if self._began == (0, 0.0):
            self._began = (update, seconds)
        told = f"loss {_number(loss, 5)}"
        if damping is not None:
            told += f"  λ {damping:.2g}"
        taken, spent = update - self._began[0], seconds - self._began[1]
        if taken and spent:
            told += f"  {taken / spent:.3g}/s"
        self._advance(update, seconds, told)

    def _advance(self, update: int, seconds: float, told: str) -> None:
        """Show the larger of the shares of the budget's updates and seconds that are used."""
        limit, most = self._limits
        shares = [update / limit] if limit else []
        shares += [seconds / most] if most else []
        place = f"{update:,}" + (f"/{limit:,}" if limit else "")
        done = min(1.0, max(shares, default=0.0))
        self._bar.update(self._task, completed=done, told=told, place=place)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
