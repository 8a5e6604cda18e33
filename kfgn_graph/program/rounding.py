"""Numba without its fast-math mode, so that a resumed run has the same rounding errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytensor


@contextmanager
def rounded_as_written() -> Iterator[None]:
    """Turn off Numba's fast-math mode while the block runs; other backends are not affected.

    Fast-math lets the compiler regroup sums, depending on how much of the program it sees at
    once. A process that finds compiled parts in Numba's cache can therefore get different code,
    and different rounding, from a process that compiles everything.
    """
    with pytensor.config.change_flags(numba__fastmath=False):
        yield
