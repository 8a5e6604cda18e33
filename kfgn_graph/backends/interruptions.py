"""Signals that wait until a change of persistent values is complete."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import FrameType
from typing import Any

#: The functions in C that :mod:`signal` wraps. The wrappers convert numbers to enumerations, which
#: takes 10 microseconds for each update.
_signal = import_module("_signal")

#: Signals whose Python handlers programs use to interrupt a computation.
SIGNALS = tuple(
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGVTALRM")
    if hasattr(signal, name)
)


def uninterrupted[T](action: Callable[[], T], recoverable: bool = False) -> T:
    """Return ``action()``; signals that arrive meanwhile are handled once it has returned.

    Python handles signals in the main thread, between any two instructions. The handler of Ctrl-C
    raises :exc:`KeyboardInterrupt` there, which would leave a change half done. In other threads,
    and for signals without a Python handler, nothing is deferred.

    Parameters
    ----------
    action : callable
        The change.
    recoverable : bool
        Whether the caller undoes the change if it is interrupted. If so, a second signal is
        handled at once.
    """
    if threading.current_thread() is not threading.main_thread():
        return action()
    handlers = {n: h for n in SIGNALS if callable(h := _signal.getsignal(n))}
    waiting: list[int] = []

    def defer(number: int, frame: FrameType | None) -> None:
        waiting.append(number)
        if recoverable and len(waiting) > 1:
            handlers[number](number, frame)

    try:
        for number in handlers:
            _signal.signal(number, defer)
        return action()
    finally:
        _restore(handlers, list(handlers))
        _deliver(waiting)


def _restore(handlers: Mapping[int, Any], numbers: Sequence[int]) -> None:
    """Install the handlers, the first of them last; all of them even if one raises."""
    if not numbers:
        return
    *others, last = numbers
    try:
        _signal.signal(last, handlers[last])
    finally:
        _restore(handlers, others)
        if _signal.getsignal(last) is not handlers[last]:
            _signal.signal(last, handlers[last])


def _deliver(waiting: Sequence[int]) -> None:
    """Raise the signals; after a handler that raises, those of other kinds only."""
    if not waiting:
        return
    first, *others = waiting
    try:
        signal.raise_signal(first)
    except BaseException:
        _deliver([n for n in others if n != first])
        raise
    _deliver(others)
