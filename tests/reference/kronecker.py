"""Kronecker-factored blocks, damped and inverted as dense matrices."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def balance(Q: Array, G: Array) -> float:
    """Return pi, the root of the ratio of mean eigenvalues; 1 if either trace is 0."""
    mean_q, mean_g = np.trace(Q) / len(Q), np.trace(G) / len(G)
    return 1.0 if mean_q == 0 or mean_g == 0 else float(np.sqrt(mean_q / mean_g))


def damped(Q: Array, G: Array, gamma: float) -> tuple[Array, Array]:
    """Return ``Q + pi gamma I`` and ``G + gamma / pi I``."""
    pi = balance(Q, G)
    return Q + pi * gamma * np.eye(len(Q)), G + gamma / pi * np.eye(len(G))


def condition(Q: Array, G: Array, gamma: float) -> float:
    """Return the condition number of the damped block."""
    return float(np.prod([np.linalg.cond(factor) for factor in damped(Q, G, gamma)]))


def solve(Q: Array, G: Array, V: Array, gamma: float) -> Array:
    """Solve the dense system ``kron(Q + .., G + ..) vec(X) = vec(V)``, V of (len(Q), len(G))."""
    block = np.kron(*damped(Q, G, gamma))
    return np.linalg.solve(block, V.reshape(-1)).reshape(V.shape)
