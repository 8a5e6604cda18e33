r"""The paper's recursions for chains of affine layers, as NumPy loops over examples.

Rows are examples: ``h_l = a_{l-1} W_l + b_l`` with ``a_l = f_l(h_l)``, so the paper's ``W_l`` is
the transpose of the one here. Every function takes the gradient and Hessian of the *whole* loss
by the last pre-activation, example by example, and so sums over examples where the paper
averages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.reference.activations import ACTIVATIONS

Array = np.ndarray


@dataclass(frozen=True)
class ChainPass:
    """What one forward pass through a chain leaves behind.

    Attributes
    ----------
    inputs : list of (N, d_in)
        The input of each layer, without the appended 1.
    slopes, bends : list of (N, d_out)
        First and second derivatives of the activation after each layer but the last.
    output : (N, K)
    """

    inputs: list[Array]
    slopes: list[Array]
    bends: list[Array]
    output: Array


def forward(
    weights: Sequence[Array],
    biases: Sequence[Array | None],
    activations: Sequence[str],
    x: Array,
) -> ChainPass:
    """Run the chain; Eq. (1)."""
    inputs, slopes, bends = [], [], []
    a = h = x
    for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
        inputs.append(a)
        h = np.stack([row @ W + (0.0 if b is None else b) for row in a])
        if i < len(activations):
            a, first, second = ACTIVATIONS[activations[i]](h)
            slopes.append(first)
            bends.append(second)
    return ChainPass(inputs, slopes, bends, h)


def input_factor(a: Array, biased: bool) -> Array:
    """Return Q, the mean of ``a a^T``, a 1 appended to ``a`` where there is a bias; Eq. (21)."""
    rows = [np.append(row, 1.0) if biased else row for row in a]
    return sum(np.outer(row, row) for row in rows) / len(rows)


def kfra(weights: Sequence[Array], run: ChainPass, output_hessian: Array) -> list[Array]:
    """Return each layer's G by the recursion on expectations, Eq. (26).

    ``G_l = (W G_{l+1} W^T) * E[b b^T]``, ``b = f'(h_l)``, elementwise product.
    """
    G = output_hessian.sum(axis=0)
    factors = [G]
    for W, slope in zip(weights[:0:-1], run.slopes[::-1], strict=True):
        mean = sum(np.outer(b, b) for b in slope) / len(slope)
        G = (W @ G @ W.T) * mean
        factors.append(G)
    return factors[::-1]


def kflr(weights: Sequence[Array], run: ChainPass, output_hessian: Array) -> list[Array]:
    """Return each layer's G from per-example square roots, Eq. (23)-(25)."""
    total = [np.zeros((W.shape[1], W.shape[1])) for W in weights]
    for n, H in enumerate(output_hessian):
        values, vectors = np.linalg.eigh(H)
        for value, vector in zip(values, vectors.T, strict=True):
            c = np.sqrt(max(value, 0.0)) * vector
            total[-1] += np.outer(c, c)
            for i in range(len(weights) - 2, -1, -1):
                c = run.slopes[i][n] * (weights[i + 1] @ c)
                total[i] += np.outer(c, c)
    return total


def hessians(
    weights: Sequence[Array], run: ChainPass, gradient: Array, output_hessian: Array
) -> list[Array]:
    """Return each layer's pre-activation Hessians (N, d_out, d_out), Eq. (8)-(10)."""
    layers: list[list[Array]] = [[] for _ in weights]
    for n, (g, H) in enumerate(zip(gradient, output_hessian, strict=True)):
        layers[-1].append(H)
        for i in range(len(weights) - 2, -1, -1):
            by_activation = weights[i + 1] @ g
            B = np.diag(run.slopes[i][n])
            D = np.diag(run.bends[i][n] * by_activation)
            H = B @ weights[i + 1] @ H @ weights[i + 1].T @ B + D
            g = run.slopes[i][n] * by_activation
            layers[i].append(H)
    return [np.stack(layer) for layer in layers]


def gradients(run: ChainPass, weights: Sequence[Array], gradient: Array) -> list[Array]:
    """Return each layer's gradient of the loss, ``[dW; db]`` of (d_in + 1, d_out), Eq. (3)."""
    total = [np.zeros((W.shape[0] + 1, W.shape[1])) for W in weights]
    for n, g in enumerate(gradient):
        for i in range(len(weights) - 1, -1, -1):
            total[i] += np.outer(np.append(run.inputs[i][n], 1.0), g)
            if i:
                g = run.slopes[i - 1][n] * (weights[i] @ g)
    return total


def kfra_residual(W: Array, slope: Array, G: Array) -> tuple[Array, Array]:
    r"""Pass a batch-constant factor through ``u + f(u W + b)``, by the joint factor over the cut.

    The two summands ``(u, f)`` see the joint factor ``[[G, G], [G, G]]``. Through ``f`` its
    blocks are multiplied elementwise by the expectations of ``(1, b)(1, b)^T``, ``b`` the slopes;
    then ``(u, h)`` with ``h = u W`` gives that of ``u`` alone.

    Returns
    -------
    tuple
        The factor at the pre-activation ``h``, and the one at ``u``.
    """
    N, d = slope.shape
    ones = np.ones(G.shape[0])
    joint = np.zeros((2 * d, 2 * d))
    for b in slope:
        both = np.concatenate([ones, b])
        joint += np.block([[G, G], [G, G]]) * np.outer(both, both) / N
    stacked = np.hstack([np.eye(d), W])
    return joint[d:, d:], stacked @ joint @ stacked.T
