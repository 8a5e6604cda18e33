"""Validation of numeric settings."""

from __future__ import annotations

import numpy as np

from kfgn_graph.errors import SpecError

#: Largest count and longest period: compiled updates count in 32 bits.
MOST = 2**31 - 1


def real(name: str, value: object, needed: str = "a finite number") -> float:
    """Return a setting as a number.

    Raises
    ------
    SpecError
        Unless ``value`` is a finite real number; ``needed`` says what is allowed.
    """
    if isinstance(value, bool | str | bytes) or np.ndim(value) or not np.isrealobj(value):  # type: ignore[arg-type]
        raise SpecError(f"{name}={value!r} must be {needed}.")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise SpecError(f"{name}={value!r} must be {needed}.") from error
    if not np.isfinite(number):
        raise SpecError(f"{name}={value!r} must be {needed}.")
    return number


def positive(name: str, value: float) -> None:
    """Raise :class:`SpecError` unless ``value`` is a positive number."""
    if real(name, value, "a positive number") <= 0:
        raise SpecError(f"{name}={value} must be a positive number.")


def not_negative(name: str, value: float) -> None:
    """Raise :class:`SpecError` unless ``value`` is zero or a positive number."""
    if real(name, value, "zero or a positive number") < 0:
        raise SpecError(f"{name}={value} must be zero or a positive number.")


def switch(name: str, value: object) -> None:
    """Raise :class:`SpecError` unless ``value`` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise SpecError(f"{name}={value!r} must be True or False.")


def positive_count(name: str, value: int) -> None:
    """Raise :class:`SpecError` unless ``value`` is a whole number from 1 to ``MOST``."""
    if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        raise SpecError(f"{name}={value!r} must be a whole number of at least 1.")
    if value > MOST:
        raise SpecError(f"{name}={value!r} must be at most {MOST}: updates count in 32 bits.")
