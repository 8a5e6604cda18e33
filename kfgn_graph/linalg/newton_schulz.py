r"""Inverses of symmetric matrices by products alone.

:math:`X \leftarrow s X (2 I - s A X)` squares the error :math:`E = I - s A X`. The eigenvalues
of :math:`A X`, all positive, are claimed to lie in :math:`[m, M]`, and :math:`s = 2 / (m + M)`
centres them on 1: far from the inverse that quarters :math:`M / m` where :math:`s = 1` halves it.
M bounds them in truth. Where m does not, those below it stay below 1 and the iteration still
converges; what is left of the error, measured, decides when it ends.

X is left as rounding makes it, not quite symmetric: made symmetric its error, which A X shows
and the next step corrects, grows from the condition number's rounding to its square's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op

#: A start serves where the mean square of the eigenvalues of A X is within this of their squared
#: mean: it is 1 at the inverse, or a multiple of it.
SPREAD = 1.5
#: What part of that mean is claimed to be the least eigenvalue.
LEAST = 0.5
#: Rounding lets the iteration come no farther where the error stays above this part of itself.
STALLED = 0.5


class IteratedInverses(Op):
    r"""The inverses of symmetric positive definite matrices, each started from what may be near.

    Inputs are the k starts, the k matrices, each (d, d), and k scalars, lower bounds of the
    matrices' eigenvalues; outputs the k inverses: right ones, A X = I, where they are not quite
    symmetric. A start is used where it is near enough, else I / bound. NaN where a matrix is not
    finite.

    Parameters
    ----------
    iterations : int
        At most, of two products each; two more products are made in any case.
    tolerance : float
        An iteration whose :math:`\|I - s A X\|_F` squared is at most this is the last.
    """

    __props__ = ("iterations", "tolerance")

    def __init__(self, iterations: int, tolerance: float) -> None:
        self.iterations, self.tolerance = iterations, tolerance

    def make_node(self, *inputs: Variable) -> Apply:
        """Return the node, whose outputs have the types of the matrices."""
        return Apply(self, list(inputs), [A.type() for A in thirds(inputs)[1]])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return each (d, d)."""
        return thirds(shapes)[1]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute one after another."""
        with np.errstate(all="ignore"):
            for place, start, A, least in zip(outputs, *thirds(inputs), strict=True):
                place[0] = self.inverse(start, A, least)

    def inverse(self, start: np.ndarray, A: np.ndarray, least: np.ndarray) -> np.ndarray:
        """Return the inverse of one matrix."""
        X, image, claimed = first_step(np, start, A, least)
        last = np.inf
        for _ in range(self.iterations - 1):
            scale = scale_of(claimed)
            E = residual(np, image, scale)
            error, bound = np.sqrt(np.vdot(E, E)), next_claim(claimed)
            if self.ends(np, error, last, bound):
                break
            X = better(X, E, scale)
            image, last, claimed = A @ X, error, bound
        scale = scale_of(claimed)
        return better(X, residual(np, image, scale), scale)

    def ends(self, library: Any, error: Any, last: Any, claimed: Any) -> Any:
        """Return whether one step more is the last, from the error now, before, and as claimed."""
        stalled = (claimed <= self.tolerance) & (error >= STALLED * last)
        return (error**2 <= self.tolerance) | stalled | ~library.isfinite(error)


def thirds(values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Return starts, matrices, bounds."""
    k = len(values) // 3
    return values[:k], values[k : 2 * k], values[2 * k :]


def first_step(library: Any, start: Any, A: Any, least: Any) -> tuple[Any, Any, Any]:
    r"""Return X, A X and the greatest error claimed, after one step from a start or from I.

    :math:`C = A X / \mu - I`, :math:`\mu` the mean eigenvalue, and its square give both the bound
    :math:`|\lambda / \mu - 1| \le (\mathrm{tr}\, C^4)^{1/4}` and A times what the step makes of
    X, so that the bound costs no product.

    Parameters
    ----------
    library : module
        NumPy, or JAX's that has its name.
    """
    n, unit = len(A), library.eye(len(A), dtype=A.dtype)
    image = A @ start
    mean, square = image.trace() / n, (image * image.T).sum() / n
    near = (mean > 0) & (square <= SPREAD * mean**2)
    bound = abs(A).sum(axis=1).max()
    X, image = library.where(near, start, unit / bound), library.where(near, image, A / bound)
    mean = image.trace() / n
    C = image / mean - unit
    square = C @ C
    farthest = library.maximum((square * square.T).sum(), 0) ** 0.25
    M = mean * (1 + farthest)
    m = library.maximum(library.where(near, LEAST * mean, least / bound), mean * (1 - farthest))
    scale = 2 / (m + M)
    b = scale * mean
    a = 1 - b
    image = unit - (a**2 * unit - 2 * a * b * C + b**2 * square)
    return better(X, a * unit - b * C, scale), image, ((M - m) / (M + m)) ** 2


def scale_of(claimed: Any) -> Any:
    """Return what centres eigenvalues of A X in [1 - claimed, 1] on 1."""
    return 2 / (2 - claimed)


def next_claim(claimed: Any) -> Any:
    """Return the greatest error after a step, from that before it."""
    return (claimed / (2 - claimed)) ** 2


def residual(library: Any, image: Any, scale: Any) -> Any:
    """Return I - s A X."""
    return library.eye(len(image), dtype=image.dtype) - scale * image


def better(X: Any, E: Any, scale: Any) -> Any:
    """Return s X (I + E)."""
    return scale * (X + X @ E)
