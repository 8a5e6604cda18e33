r"""Inverses of symmetric positive definite matrices by scaled Newton-Schulz iteration.

The iteration :math:`X \leftarrow s X (2 I - s A X)` squares the residual :math:`E = I - s A X`.
The eigenvalues of :math:`A X` are positive. Given bounds :math:`[m, M]` on them,
:math:`s = 2 / (m + M)` centres them on 1. Far from the inverse a step then divides :math:`M / m`
by four, where :math:`s = 1` divides it by two. M is a true upper bound; m may be too large.
Eigenvalues below m then stay below 1, so that the iteration still converges, and the measured
residual decides when it stops.

X is not symmetrised. Its asymmetry is a rounding error that shows in A X, and the next step
corrects it. Symmetrising X would raise its rounding error from :math:`\epsilon \kappa` to
:math:`\epsilon \kappa^2`, for the condition number :math:`\kappa` of A.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

#: A start X is used if the mean square of the eigenvalues of A X is at most this times their
#: squared mean. The ratio is 1 if X is a multiple of the inverse.
SPREAD = 1.5
#: The fraction of the mean eigenvalue that is taken as their lower bound m for such a start.
LEAST = 0.5
#: A step that leaves more than this fraction of the error has reached the level of rounding.
STALLED = 0.5


class IteratedInverses(Op):
    r"""The inverses of symmetric positive definite matrices by Newton-Schulz iteration.

    The inputs are k starts and k matrices, each (d, d), and k scalars, lower bounds on the
    eigenvalues of the matrices. The outputs are the k right inverses X, A X = I, which are
    symmetric up to rounding. A start that is not near the inverse is replaced by a multiple of
    the identity. The inverse of a matrix that is not finite is NaN.

    Parameters
    ----------
    iterations : int
        The maximal number of iterations, of two matrix products each. Two further products
        bound the eigenvalues and finish the inverse.
    tolerance : float
        The iteration stops with the step for which :math:`\|I - s A X\|_F^2` is at most this.
    """

    __props__ = ("iterations", "tolerance")

    def __init__(self, iterations: int, tolerance: float) -> None:
        self.iterations, self.tolerance = iterations, tolerance

    def make_node(self, *inputs: Variable) -> Apply:
        """Return the node, whose outputs have the types of the matrices."""
        return Apply(self, list(inputs), [A.type() for A in split_inputs(inputs)[1]])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return the shape (d, d) of each matrix."""
        return split_inputs(shapes)[1]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute one inverse after another."""
        with np.errstate(all="ignore"):
            for storage, start, A, least in zip(outputs, *split_inputs(inputs), strict=True):
                storage[0] = self.inverse(start, A, least)

    def inverse(self, start: np.ndarray, A: np.ndarray, least: np.ndarray) -> np.ndarray:
        """Return the inverse of one matrix."""
        X, AX, bound = first_step(np, start, A, least)
        last = np.inf
        for _ in range(self.iterations - 1):
            scale = centring_scale(bound)
            E = residual(np, AX, scale)
            error, next_bound = np.sqrt(np.vdot(E, E)), bound_after_step(bound)
            if self.ends(np, error, last, next_bound):
                break
            X = newton_step(X, E, scale)
            AX, last, bound = A @ X, error, next_bound
        scale = centring_scale(bound)
        return newton_step(X, residual(np, AX, scale), scale)

    def ends(self, library: Any, error: Any, last: Any, bound: Any) -> Any:
        """Return whether the next step is the last one.

        Parameters
        ----------
        library : module
            ``numpy`` or ``jax.numpy``.
        error, last : scalar
            The norm of the residual E now and before the last step.
        bound : scalar
            The error bound after the next step.
        """
        stalled = (bound <= self.tolerance) & (error >= STALLED * last)
        return (error**2 <= self.tolerance) | stalled | ~library.isfinite(error)


def split_inputs(values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Return the starts, the matrices and the lower bounds."""
    k = len(values) // 3
    return values[:k], values[k : 2 * k], values[2 * k :]


def first_step(library: Any, start: Any, A: Any, least: Any) -> tuple[Any, Any, Any]:
    r"""Return X, A X and an error bound after one step from a start or a multiple of I.

    Let :math:`\mu` be the mean eigenvalue of A X, and :math:`C = A X / \mu - I`. The square of C
    gives the bound :math:`|\lambda / \mu - 1| \le (\mathrm{tr}\, C^4)^{1/4}` on the eigenvalues
    :math:`\lambda`. It also gives A X after the step, so that the bound takes no extra product.

    Parameters
    ----------
    library : module
        ``numpy`` or ``jax.numpy``.
    start, A : array
        The start and the matrix, each (d, d).
    least : scalar
        A lower bound on the eigenvalues of A.

    Returns
    -------
    tuple
        X, A X and a bound b: the eigenvalues of A X lie in [1 - b, 1] if the bounds hold.
    """
    n, unit = len(A), library.eye(len(A), dtype=A.dtype)
    AX = A @ start
    mean, square = AX.trace() / n, (AX * AX.T).sum() / n
    near = (mean > 0) & (square <= SPREAD * mean**2)
    bound = abs(A).sum(axis=1).max()
    X, AX = library.where(near, start, unit / bound), library.where(near, AX, A / bound)
    mean = AX.trace() / n
    C = AX / mean - unit
    square = C @ C
    farthest = library.maximum((square * square.T).sum(), 0) ** 0.25
    M = mean * (1 + farthest)
    m = library.maximum(library.where(near, LEAST * mean, least / bound), mean * (1 - farthest))
    scale = 2 / (m + M)
    b = scale * mean
    a = 1 - b
    AX = unit - (a**2 * unit - 2 * a * b * C + b**2 * square)
    return newton_step(X, a * unit - b * C, scale), AX, ((M - m) / (M + m)) ** 2


def centring_scale(bound: Any) -> Any:
    """Return the scale s that centres eigenvalues of A X in [1 - bound, 1] on 1."""
    return 2 / (2 - bound)


def bound_after_step(bound: Any) -> Any:
    """Return the error bound after a step, given the bound before it."""
    return (bound / (2 - bound)) ** 2


def residual(library: Any, AX: Any, scale: Any) -> Any:
    """Return the residual E = I - s A X."""
    return library.eye(len(AX), dtype=AX.dtype) - scale * AX


def newton_step(X: Any, E: Any, scale: Any) -> Any:
    """Return s X (I + E) = s X (2 I - s A X)."""
    return scale * (X + X @ E)
