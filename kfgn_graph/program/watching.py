"""Who is told how training goes, and how it is asked to stop."""

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
    """What is told how training goes."""

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Hear that training begins after ``update``, and its limits, where there are any."""

    def updated(self, update: int, seconds: float, loss: float, damping: float | None) -> None:
        """Hear of an update."""

    def evaluated(self, update: int, found: Evaluation) -> None:
        """Hear of an evaluation of the full training set."""

    def noted(self, text: str) -> None:
        """Hear what the user should know."""


@contextmanager
def interruptions(watch: Watcher) -> Iterator[threading.Event]:
    """Let Ctrl-C and a request to end set an event; a second one ends at once."""
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
