"""A context that several threads may be in at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock


class Overlapping:
    """A context entered once, by the first of those that use it, and left by the last.

    Settings of the whole process can be changed by it: uses that overlap in several threads would
    otherwise restore each other's settings.

    Parameters
    ----------
    context : callable
        Returns the context manager.
    """

    def __init__(self, context: Callable[[], AbstractContextManager[None]]) -> None:
        self._context = context
        self._lock = Lock()
        self._users = 0
        self._entered: AbstractContextManager[None] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Enter the context, or join those that are in it."""
        with self._lock:
            if self._users == 0:
                self._entered = self._context()
                self._entered.__enter__()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self._entered is not None:
                    self._entered.__exit__(None, None, None)
