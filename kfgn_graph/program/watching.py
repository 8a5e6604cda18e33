"""The interface through which training reports its progress, and the handling of Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from kfgn_graph.program.evaluation import Evaluation


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


@contextmanager
def interruptions(watch: Watcher) -> Iterator[threading.Event]:
    """Set an event on the first SIGINT (Ctrl-C) or SIGTERM; a second signal ends the process.

    Outside the main thread, which alone receives signals, the event is never set.
    """
    stop = threading.Event()

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, kept[number])
        watch.noted("stopping after this update")

    kept: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        kept = {n: signal.signal(n, request) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
