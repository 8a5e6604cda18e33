"""Validation of numeric settings."""

from __future__ import annotations

import numpy as np

from kfgn_graph.errors import SpecError

#: Largest count and longest period: compiled updates count in 32 bits.
MOST = 2**31 - 1


def positive(name: str, value: float) -> None:
    """Raise :class:`SpecError` unless ``value`` is a positive number."""
    if not (np.isfinite(value) and value > 0):
        raise SpecError(f"{name}={value} must be a positive number.")


def positive_count(name: str, value: int) -> None:
    """Raise :class:`SpecError` unless ``value`` is a whole number from 1 to ``MOST``."""
    if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        raise SpecError(f"{name}={value!r} must be a whole number of at least 1.")
    if value > MOST:
        raise SpecError(f"{name}={value!r} must be at most {MOST}: updates count in 32 bits.")
