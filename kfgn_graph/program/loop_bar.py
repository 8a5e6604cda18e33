"""The progress bar of :func:`kfgn_graph.fit`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.util import find_spec
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from kfgn_graph.program import loop

#: Seconds between two readings of a loss, each of which may wait for an update.
PERIOD = 0.25


def console() -> Console:
    """Return the console of the bar: a notebook's, or that of standard error."""
    shown = Console()
    return shown if shown.is_jupyter else Console(stderr=True)


def bar_fits() -> bool:
    """Return whether a bar can be redrawn: in a terminal, and by widgets in a notebook."""
    where = console()
    if where.is_jupyter:
        return find_spec("ipywidgets") is not None
    return where.is_terminal and not where.is_dumb_terminal


class LoopBar(AbstractContextManager["LoopBar"]):
    """A bar with the number of updates, the loss and the remaining time.

    Parameters
    ----------
    limit : int or None
        The number of updates after which the loop ends.
    seconds : float or None
        The seconds after which it ends.
    """

    def __init__(self, limit: int | None, seconds: float | None) -> None:
        self._limit, self._seconds = limit, seconds
        self._read = -PERIOD
        self._validation = ""
        self._bar = Progress(
            TextColumn("[bold]update {task.fields[place]}"),
            BarColumn(),
            TextColumn("{task.fields[values]}"),
            TimeRemainingColumn(),
            console=console(),
        )
        self._task = self._bar.add_task("training", total=1.0, values="compiling", place="0")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, now: loop.LoopState) -> None:
        """Show an update: its place, and four times a second its loss."""
        shares = [now.update / self._limit] if self._limit else []
        shares += [now.seconds / self._seconds] if self._seconds else []
        done = min(1.0, max(shares))
        if now.validation:
            self._validation = "".join(
                f"  validation {name} {value:.5g}" for name, value in now.validation.items()
            )
        if perf_counter() - self._read < PERIOD and done < 1:
            return
        values = f"loss {now.stats.loss:.5g}{self._validation}"
        place = f"{now.update:,}" + (f"/{self._limit:,}" if self._limit else "")
        self._bar.update(self._task, completed=done, values=values, place=place)
        self._read = perf_counter()
