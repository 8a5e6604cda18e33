"""Whether the numbers of a column keep their precision in a dtype."""

from __future__ import annotations

import numpy as np


def magnitude(array: np.ndarray) -> np.ndarray:
    """Return the largest absolute value of each column, in float64; 0 without examples.

    Parameters
    ----------
    array : ndarray of real numbers, shape (N, ...)
        Examples along the leading axis.

    Returns
    -------
    ndarray of float64, shape of one example
    """
    low, high = array.min(axis=0, initial=0), array.max(axis=0, initial=0)
    return np.maximum(np.abs(low.astype(np.float64)), high.astype(np.float64))


def first_lost(array: np.ndarray, dtype: str | np.dtype) -> tuple[int, ...] | None:
    """Return the first column whose values are all zero or subnormal in a dtype, but not all zero.

    Compiled code rounds subnormal numbers to zero, so that such a column would be constant.

    Returns
    -------
    tuple of int or None
        The index of the column in an example; None if there is none.
    """
    if array.dtype.kind != "f" or np.dtype(dtype).kind != "f":
        return None
    largest = magnitude(array)
    lost = (largest > 0) & (largest < np.finfo(dtype).tiny)
    return tuple(int(i) for i in np.argwhere(lost)[0]) if lost.any() else None


def column_text(index: tuple[int, ...], name: str) -> str:
    """Return words for a column of an array, counted from 0; an array of numbers is one column."""
    if not index:
        return name
    return f"column {index[0] if len(index) == 1 else index} of {name}"
