r"""The algebra of a layer's block :math:`Q \otimes G`, and of the exact block it approximates.

With row-major flattening of V, of shape (d_in, d_out),
:math:`(Q \otimes G)\,\mathrm{vec}(V) = \mathrm{vec}(Q V G)` for symmetric Q and G.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.linalg.matrices import ShiftedInverse, identity_like, shifted_diagonal_inverse


@dataclass(frozen=True, eq=False)
class KroneckerFactors:
    r"""The Kronecker-factored block of one layer, Eq. (20).

    Attributes
    ----------
    Q : TensorVariable
        Mean over the batch of a a^T, of shape (d_in, d_in); with a bias, (d_in + 1, d_in + 1),
        its coordinate last.
    G : TensorVariable
        Pre-activation curvature of the loss, summed over the batch, of shape (d_out, d_out).
    diagonal : bool
        Whether G is diagonal, as at an output whose loss is a sum over its single numbers.
    """

    Q: TensorVariable
    G: TensorVariable
    diagonal: bool = False

    def matmul(self, V: TensorVariable) -> TensorVariable:
        """Return Q V G, of V's shape (d_in[+1], d_out)."""
        return self.Q @ V @ self.G

    def trace(self) -> TensorVariable:
        """Return the block's trace, tr(Q) tr(G)."""
        return pt.trace(self.Q) * pt.trace(self.G)

    def to_dense(self) -> TensorVariable:
        """Return Q (x) G, a square matrix over row-major vec([W; b]): for tests and small nets."""
        return equations.kronecker_block(self.Q, self.G)

    def solve(self, V: TensorVariable, gamma: TensorVariable | float) -> TensorVariable:
        """Return :func:`kronecker_solve` of V."""
        return kronecker_solve(self, V, gamma)


@dataclass(frozen=True, eq=False)
class ExactBlock:
    """The exact block of one layer, kept as its per-example parts.

    Attributes
    ----------
    inputs : TensorVariable
        The layer's inputs, of shape (R, T, d_in[+1]); T positions share the weight.
    curvature : TensorVariable
        Pre-activation curvature of each example, of shape (R, T, d_out, T, d_out).
    """

    inputs: TensorVariable
    curvature: TensorVariable

    def to_dense(self) -> TensorVariable:
        """Return the block as a square matrix over row-major vec([W; b])."""
        return equations.per_example_block(self.inputs, self.curvature)


def norm_ratio(factors: KroneckerFactors) -> TensorVariable:
    r"""Return pi, the root of a ratio of mean eigenvalues, which splits damping in two.

    :math:`\pi^2 = \frac{\mathrm{tr}(Q) / d_Q}{\mathrm{tr}(G) / d_G}`, and 1 if either trace is 0
    (Martens and Grosse 2015, section 6.3).
    """
    dtype = factors.Q.type.dtype
    return norm_ratio_of(
        pt.trace(factors.Q) / factors.Q.shape[0].astype(dtype),
        pt.trace(factors.G) / factors.G.shape[0].astype(dtype),
    )


def norm_ratio_of(q: TensorVariable, g: TensorVariable) -> TensorVariable:
    """Return pi from the mean eigenvalues of Q and G."""
    one = np.asarray(1, q.type.dtype)
    usable = pt.gt(q, 0) & pt.gt(g, 0)
    return pt.sqrt(pt.switch(usable, q, one) / pt.switch(usable, g, one))


def shifts_of(
    factors: KroneckerFactors, gamma: TensorVariable | float
) -> tuple[TensorVariable, TensorVariable]:
    r"""Return what damps Q and G: :math:`\pi\gamma` and :math:`\gamma / \pi`."""
    pi = norm_ratio(factors)
    gamma = pt.as_tensor(gamma).astype(factors.Q.type.dtype)
    return pi * gamma, gamma / pi


def damped(factors: KroneckerFactors, gamma: TensorVariable | float) -> KroneckerFactors:
    r"""Return the factors damped: :math:`Q + \pi\gamma I` and :math:`G + (\gamma / \pi) I`."""
    q, g = shifts_of(factors, gamma)
    Q, G = factors.Q, factors.G
    return KroneckerFactors(Q + q * identity_like(Q), G + g * identity_like(G))


def damped_inverses(
    factors: KroneckerFactors, gamma: TensorVariable | float, retry: float = 0.0
) -> tuple[TensorVariable, TensorVariable]:
    """Return the inverses of the damped factors; one that is not positive definite gives NaN.

    Before it does, its damping is multiplied with ``retry``, unless that is 0.
    """
    q, g = shifts_of(factors, gamma)
    inverse = ShiftedInverse(retry)
    if factors.diagonal:
        return inverse(factors.Q, q), shifted_diagonal_inverse(factors.G, g, retry)
    return inverse(factors.Q, q), inverse(factors.G, g)


def kronecker_solve(
    factors: KroneckerFactors, V: TensorVariable, gamma: TensorVariable | float
) -> TensorVariable:
    r"""Solve damped: :math:`(Q + \pi\gamma I)^{-1}\, V\, (G + (\gamma/\pi) I)^{-1}`.

    Parameters
    ----------
    factors : KroneckerFactors
        Q and G of one layer.
    V : TensorVariable
        Of shape (d_in, d_out), or (d_in + 1, d_out) with a bias, whose row is last.
    gamma : scalar
        The damping's square root: :math:`\gamma^2` damps the block.

    Returns
    -------
    TensorVariable
        Of V's shape; NaN where a damped factor is not positive definite.
    """
    return KroneckerFactors(*damped_inverses(factors, gamma)).matmul(V)


def corrected_eigenvalues(
    a: TensorVariable, C: TensorVariable, Q_vectors: TensorVariable, G_vectors: TensorVariable
) -> TensorVariable:
    r"""Return the diagonal of a layer's Gauss-Newton block in a Kronecker basis.

    :math:`s_{ij} = \sum_n \sum_k (u_i^T a_n)^2 (v_j^T C_n^k)^2` for the eigenvectors u of Q and v
    of G (George et al. 2018, "EKFAC").

    Parameters
    ----------
    a : TensorVariable
        Inputs of the layer, a unit appended where it has a bias, of shape (N, d_in[+1]).
    C : TensorVariable
        Columns of the square root at its pre-activation, of shape (K, N, d_out).
    Q_vectors, G_vectors : TensorVariable
        Eigenvectors in columns.

    Returns
    -------
    TensorVariable
        Of shape (d_in[+1], d_out), in the units of the loss.
    """
    return ((a @ Q_vectors) ** 2).T @ ((C @ G_vectors) ** 2).sum(axis=0)
