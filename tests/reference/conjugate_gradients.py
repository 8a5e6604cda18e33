"""Conjugate gradients as Martens writes them, in NumPy."""

from __future__ import annotations

import numpy as np


def martens(
    A: np.ndarray, b: np.ndarray, x: np.ndarray, iterations: int, tolerance: float, M: np.ndarray
) -> tuple[np.ndarray, int]:
    """Return the solution of Martens' loop, and after how many iterations it stopped.

    Martens 2010, section 4.4: stop after iteration i if i > k, phi(x_i) < 0 and
    (phi(x_i) - phi(x_{i-k})) / phi(x_i) < k tolerance, with k = max(10, i / 10).
    """
    r = b - A @ x
    y = r / M
    d, rho = y, r @ y
    phi = [x @ A @ x / 2 - b @ x]
    for i in range(1, iterations + 1):
        step = rho / (d @ A @ d)
        x, r = x + step * d, r - step * (A @ d)
        y = r / M
        rho, last = r @ y, rho
        d = y + rho / last * d
        phi.append(x @ A @ x / 2 - b @ x)
        k = max(10, int(0.1 * i))
        if i > k and phi[i] < 0 and (phi[i] - phi[i - k]) / phi[i] < k * tolerance:
            return x, i
    return x, iterations
