"""Preconditioned directions: exact, by conjugate gradients, and of Kronecker factors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.appendix_f2.cases import Array

Spectrum = tuple[Array, Array]


@dataclass(frozen=True)
class Solution:
    """The solution of a damped system.

    Attributes
    ----------
    x : ndarray
        The solution.
    image : ndarray
        The product of the undamped matrix with x.
    iterations : int
        Number of products that it took.
    error : float
        Bound on the error of x, relative to the norm of x.
    """

    x: Array
    image: Array
    iterations: int
    error: float


def conjugate_gradients(
    product: Callable[[Array], Array],
    b: Array,
    damping: float,
    precondition: Callable[[Array], Array],
    tolerance: float,
    iterations: int = 2000,
) -> Solution:
    r"""Solve :math:`(A + \lambda I) x = b` for a positive semi-definite A.

    The iterations stop at :math:`\|r\| \le \epsilon \lambda \|x\|`, with r the residual. No
    eigenvalue of the matrix is below :math:`\lambda`, so that the error of x is then at most
    :math:`\epsilon \|x\|`.

    Raises
    ------
    RuntimeError
        The residual, computed from x at the end, does not meet this bound.
    """
    x, r = np.zeros_like(b), b
    image = np.zeros_like(b)
    y = precondition(r)
    d, rho, number = y, float(r @ y), 0
    while number < iterations:
        number += 1
        moved = product(d)
        length = rho / float(d @ moved + damping * (d @ d))
        x, image = x + length * d, image + length * moved
        r = b - image - damping * x
        if np.linalg.norm(r) <= 0.9 * tolerance * damping * np.linalg.norm(x):
            break
        y = precondition(r)
        rho, before = float(r @ y), rho
        d = y + (rho / before) * d
    image = product(x)
    error = float(np.linalg.norm(b - image - damping * x) / (damping * np.linalg.norm(x)))
    if not error <= tolerance:
        raise RuntimeError(
            f"{number} iterations of conjugate gradients with lambda = {damping:g} leave a bound "
            f"of {error:.2g} on the relative error, above {tolerance:g}."
        )
    return Solution(x, image, number, error)


def spectrum(matrix: Array) -> Spectrum:
    """Return the eigenvalues, with rounding errors below 0 set to 0, and the eigenvectors."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.maximum(values, 0), vectors


def cosine(a: Array, b: Array) -> float:
    """Return the cosine of the angle between two vectors; 0 if one of them is 0."""
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else 0.0


class KroneckerInverse:
    r"""The damped inverses of blocks :math:`Q \otimes G`, in the eigenbasis of the factors.

    Parameters
    ----------
    Q, G : sequence of (eigenvalues, eigenvectors)
        Of every layer.
    """

    def __init__(self, Q: Sequence[Spectrum], G: Sequence[Spectrum]) -> None:
        self._layers = list(zip(Q, G, strict=True))
        self.shapes = [(len(q[0]), len(g[0])) for q, g in self._layers]

    def split(self, flat: Array) -> list[Array]:
        """Return the matrix [W; b] of every layer, of shape (d_in + 1, d_out)."""
        ends = np.cumsum([rows * columns for rows, columns in self.shapes])[:-1]
        return [p.reshape(s) for p, s in zip(np.split(flat, ends), self.shapes, strict=True)]

    def exact(self, flat: Array, damping: float) -> Array:
        r"""Return :math:`(Q \otimes G + \lambda I)^{-1}` times a vector."""
        return self._apply(flat, lambda q, g: np.outer(q, g) + damping)

    def factored(self, flat: Array, damping: float) -> Array:
        r"""Return :math:`(Q + \pi\gamma I)^{-1} \otimes (G + \gamma/\pi I)^{-1}` times a vector.

        Here :math:`\gamma = \sqrt\lambda` and :math:`\pi^2` is the ratio of the mean eigenvalues
        of Q and G, or 1 if either is 0, as in :func:`kfgn_graph.kronecker_solve`.
        """
        gamma = np.sqrt(damping)

        def divisor(q: Array, g: Array) -> Array:
            pi = np.sqrt(q.mean() / g.mean()) if q.mean() > 0 and g.mean() > 0 else 1.0
            found: Array = np.outer(q + pi * gamma, g + gamma / pi)
            return found

        return self._apply(flat, divisor)

    def _apply(self, flat: Array, divisor: Callable[[Array, Array], Array]) -> Array:
        parts = []
        for V, ((q, Uq), (g, Ug)) in zip(self.split(flat), self._layers, strict=True):
            rotated = (Uq.T @ V @ Ug) / divisor(q, g)
            parts.append((Uq @ rotated @ Ug.T).ravel())
        return np.concatenate(parts)
