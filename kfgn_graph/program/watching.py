"""The interface through which training reports its progress, and the handling of signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from kfgn_graph.program.evaluation import Evaluation

NOTES = {
    1: "stopping after this update",
    2: "stopping after this update, without an evaluation",
}
MOST_SIGNALS = len(NOTES)


class Watcher(Protocol):
    """A receiver of progress reports from training."""

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Report that training starts after ``update``; limits are None where there are none.

        Parameters
        ----------
        path : Path
            The run's folder.
        update : int
            Number of updates already done.
        limit : int or None
            The last update that the budget allows.
        seconds : float or None
            The budget's limit on seconds.
        """

    def compiling(self, seconds: float | None) -> None:
        """Report that the step is being compiled (None), or that it took some seconds."""

    def updated(self, update: int, seconds: float, loss: float, damping: float | None) -> None:
        """Report an update: seconds so far, its batch's loss, and lambda where there is one."""

    def evaluated(self, update: int, found: Evaluation) -> None:
        """Report an evaluation on the full training set."""

    def noted(self, text: str) -> None:
        """Report a message for the user."""


class Guarded:
    """A watcher whose failing output is noticed and does not end training by an exception.

    Output fails where it goes to a pipe that is closed (``| head``), to a full device, to a
    closed file, or to a terminal that is gone.

    Parameters
    ----------
    watch : Watcher
        The receiver of the reports. After a failure it receives no more.

    Attributes
    ----------
    problem : str
        The first failure; empty if there was none.
    """

    def __init__(self, watch: Watcher) -> None:
        self._watch = watch
        self.problem = ""

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Report the start of training."""
        self._report(self._watch.started, path, update, limit, seconds)

    def compiling(self, seconds: float | None) -> None:
        """Report the start or the duration of compilation."""
        self._report(self._watch.compiling, seconds)

    def updated(self, update: int, seconds: float, loss: float, damping: float | None) -> None:
        """Report an update."""
        self._report(self._watch.updated, update, seconds, loss, damping)

    def evaluated(self, update: int, found: Evaluation) -> None:
        """Report an evaluation."""
        self._report(self._watch.evaluated, update, found)

    def noted(self, text: str) -> None:
        """Report a message."""
        self._report(self._watch.noted, text)

    def _report(self, method: Callable[..., None], *arguments: Any) -> None:
        if self.problem:
            return
        try:
            method(*arguments)
        except (OSError, ValueError) as error:  # ValueError: a closed file, or its encoding
            self.problem = str(error) or type(error).__name__
        except SystemExit:  # Rich ends the program where a pipe is closed
            self.problem = "the pipe is closed"


class Interruptions:
    """The signals that have asked training to end.

    Attributes
    ----------
    count : int
        Their number.
    """

    def __init__(self) -> None:
        self.count = 0

    @property
    def requested(self) -> bool:
        """Whether training ends after the current update."""
        return self.count > 0

    @property
    def hurried(self) -> bool:
        """Whether it ends without an evaluation, which may take long."""
        return self.count > 1


@contextmanager
def interruptions(watch: Watcher) -> Iterator[Interruptions]:
    """Count SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal is closed) while the block runs.

    The third signal has its usual effect, which ends the process at once. SIGHUP stays ignored
    where it is ignored, as under ``nohup``. Outside the main thread, which alone receives
    signals, nothing is counted.
    """
    stop = Interruptions()

    def request(number: int, frame: FrameType | None) -> None:
        stop.count += 1
        if stop.count > MOST_SIGNALS:
            signal.signal(number, kept[number])
            signal.raise_signal(number)
            return
        with suppress(RuntimeError):  # the signal came while another report was being printed
            watch.noted(NOTES[stop.count])

    kept: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        kept = {n: signal.signal(n, request) for n in _handled()}
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _handled() -> list[int]:
    """Return the signals that end training after the current update."""
    handled: list[int] = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        handled.append(hangup)
    return handled
