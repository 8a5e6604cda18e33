"""Numba without its fast mathematics, so that a run that goes on rounds as it did before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytensor


@contextmanager
def rounded_as_written() -> Iterator[None]:
    """Let Numba keep the order of operations while the block runs; other backends always do.

    Its fast mathematics may regroup sums, by what it sees of a function: another code where it
    compiles all at once than where it finds parts in its cache, as a second process does.
    """
    with pytensor.config.change_flags(numba__fastmath=False):
        yield
