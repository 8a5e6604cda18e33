"""Matrices that the tests draw, and the layouts in memory of one matrix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def semidefinite(rng: np.random.Generator, size: int, rank: int | None = None) -> np.ndarray:
    """Draw a symmetric positive semi-definite matrix."""
    root = rng.normal(size=(size, rank or size + 2))
    return root @ root.T


def layouts(x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the same matrix by rows, by columns, within wider ones, and backwards in memory."""
    yield x
    yield np.asfortranarray(x)
    n, d = x.shape
    wide = np.zeros((n, d + 5), x.dtype)
    wide[:, :d] = x
    yield wide[:, :d]
    sparse = np.zeros((2 * n, 3 * d), x.dtype)
    sparse[::2, ::3] = x
    yield sparse[::2, ::3]
    yield np.ascontiguousarray(x[::-1])[::-1]
