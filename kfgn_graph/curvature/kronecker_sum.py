r"""The block of a weight that is read as W and as W^T: a sum of two Kronecker products.

The affine maps h = a W + b have the block :math:`Q \otimes G`. The maps h' = c W^T have
:math:`Q' \otimes G'` over W^T, which is :math:`G' \otimes Q'` over W. The block of W is their sum;
what it omits is the curvature between the maps of the two kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.arguments import not_negative
from kfgn_graph.curvature.kronecker import KroneckerFactors, factor_shifts
from kfgn_graph.linalg.accumulation import marked
from kfgn_graph.linalg.matrices import identity_like

FACTORS = ("Q", "G", "Q_transposed", "G_transposed")


@dataclass(frozen=True, eq=False)
class KroneckerSum:
    r"""The block :math:`Q \otimes G + G' \otimes Q'` of a weight read as W and as W^T.

    Attributes
    ----------
    Q, G : TensorVariable
        The factors of the maps h = a W + b, as of :class:`KroneckerFactors`: of shapes
        (d_in, d_in), or (d_in + 1, d_in + 1) with a bias, and (d_out, d_out).
    Q_transposed, G_transposed : TensorVariable
        The factors of the maps h' = c W^T: the mean over the batch of c c^T, of shape
        (d_out, d_out), and the curvature in h', summed over the batch, of shape (d_in, d_in).
    """

    Q: TensorVariable
    G: TensorVariable
    Q_transposed: TensorVariable
    G_transposed: TensorVariable

    def factors(self) -> dict[str, TensorVariable]:
        """Return the factors by name."""
        return {name: getattr(self, name) for name in FACTORS}

    @property
    def products(self) -> tuple[KroneckerFactors, KroneckerFactors]:
        r"""The two products over [W; b]; :math:`G'` has a zero row and column for a bias."""
        left = self.G_transposed
        if self.Q.type.shape[0] is None or self.Q.type.shape != left.type.shape:
            d = left.shape[0]
            left = pt.set_subtensor(pt.zeros_like(self.Q)[:d, :d], left)
        return KroneckerFactors(self.Q, self.G), KroneckerFactors(left, self.Q_transposed)

    def matmul(self, V: TensorVariable) -> TensorVariable:
        r"""Return :math:`Q V G + G' V Q'`, of the shape of V, (d_in[+1], d_out)."""
        first, second = self.products
        return first.matmul(V) + second.matmul(V)

    def trace(self) -> TensorVariable:
        """Return the trace of the block."""
        first, second = self.products
        return first.trace() + second.trace()

    def to_dense(self) -> TensorVariable:
        """Return the block as a square matrix over row-major vec([W; b]): for small networks."""
        first, second = self.products
        return first.to_dense() + second.to_dense()

    def nearest(self) -> KroneckerFactors:
        """Return :func:`nearest_product` of the two products."""
        return nearest_product(*self.products)

    def solve(self, V: TensorVariable, gamma: TensorVariable | float) -> TensorVariable:
        """Return :func:`kfgn_graph.kronecker_solve` for this block."""
        return sum_solve(damped_bases(self, gamma), V)


@dataclass(frozen=True, eq=False)
class DampedBases:
    r"""The bases in which a damped sum :math:`A \otimes B + C \otimes D` is diagonal.

    Attributes
    ----------
    left, right : TensorVariable
        K and L, of the shapes of A and B, with :math:`K^T A K = I` and :math:`L^T B L = I`.
    left_values, right_values : TensorVariable
        The diagonals s of :math:`K^T C K` and t of :math:`L^T D L`.
    """

    left: TensorVariable
    right: TensorVariable
    left_values: TensorVariable
    right_values: TensorVariable


def damped_bases(block: KroneckerSum, gamma: TensorVariable | float) -> DampedBases:
    r"""Return the bases of the damped sum, by two generalised eigendecompositions.

    The factors of each product are damped as a block of its own would be, with
    :math:`\gamma / \sqrt 2`, so that the multiples of the identity in the two products add up to
    :math:`\gamma^2 I` (Martens and Grosse 2015, section 6.3 and appendix B).
    """
    gamma = pt.as_tensor(gamma).astype(block.Q.type.dtype) * np.asarray(0.5**0.5, block.Q.dtype)
    first, second = block.products
    (q, g), (left, right) = factor_shifts(first, gamma), factor_shifts(second, gamma)
    K, s = generalised_eigenbasis(first.Q, q, second.Q, left)
    L, t = generalised_eigenbasis(first.G, g, second.G, right)
    return DampedBases(K, L, s, t)


def generalised_eigenbasis(
    A: TensorVariable, a: TensorVariable, C: TensorVariable, c: TensorVariable
) -> tuple[TensorVariable, TensorVariable]:
    r"""Return K and s with :math:`K^T (A + a I) K = I` and :math:`K^T (C + c I) K` = diag(s).

    Parameters
    ----------
    A, C : TensorVariable
        Positive semi-definite matrices of shape (d, d). An eigenvalue of A that rounding makes
        negative counts as zero.
    a, c : scalar TensorVariable
        Positive shifts.
    """
    zero = np.asarray(0, A.type.dtype)
    values, vectors = pt.linalg.eigh(A)
    root = vectors / pt.sqrt(pt.maximum(values, zero) + a)[None, :]
    whitened = root.T @ (C + c * identity_like(C)) @ root
    s, rotation = pt.linalg.eigh(whitened)
    return root @ rotation, pt.maximum(s, zero)


def sum_solve(bases: DampedBases, V: TensorVariable) -> TensorVariable:
    r"""Return the solution X of :math:`A X B + C X D = V`, for symmetric B and D.

    It is :math:`K\,[(K^T V L)_{ij} / (1 + s_i t_j)]\,L^T`.
    """
    one = np.asarray(1, V.type.dtype)
    rotated = bases.left.T @ V @ bases.right
    scale = one + bases.left_values[:, None] * bases.right_values[None, :]
    return bases.left @ (rotated / scale) @ bases.right.T


def nearest_product(first: KroneckerFactors, second: KroneckerFactors) -> KroneckerFactors:
    r"""Return the Kronecker product that is nearest to a sum of two, in the Frobenius norm.

    The entries of :math:`A \otimes B + C \otimes D`, rearranged, are the matrix
    :math:`\mathrm{vec}(A) \mathrm{vec}(B)^T + \mathrm{vec}(C) \mathrm{vec}(D)^T`, and the nearest
    product is its leading singular pair (Van Loan and Pitsianis 1993). The left vector is a
    combination of A and C with the weights of the leading eigenvector of a 2 x 2 matrix of inner
    products. These are not negative for positive semi-definite factors, and therefore neither
    are the weights: the nearest product is positive semi-definite.
    """
    A, B, C, D = first.Q, first.G, second.Q, second.G
    # scaled, so that the squares neither overflow nor vanish
    sizes = [pt.trace(M) for M in (A, B, C, D)]
    one = np.asarray(1, A.type.dtype)
    A, B, C, D = (
        M / pt.switch(pt.gt(n, 0), n, one) for M, n in zip((A, B, C, D), sizes, strict=True)
    )
    m, n = sizes[0] * sizes[1], sizes[2] * sizes[3]
    largest = pt.maximum(m, n)
    largest = pt.switch(pt.gt(largest, 0), largest, one)
    m, n = m / largest, n / largest  # the block is m A (x) B + n C (x) D, over `largest`
    aa, ac, cc = (A * A).sum(), (A * C).sum(), (C * C).sum()
    bb, bd, dd = m * m * (B * B).sum(), m * n * (B * D).sum(), n * n * (D * D).sum()
    p, r = _leading_eigenvector(
        bb * aa + bd * ac, bb * ac + bd * cc, bd * aa + dd * ac, bd * ac + dd * cc
    )
    left = p * A + r * C
    norm = p * p * aa + 2 * p * r * ac + r * r * cc
    norm = pt.switch(pt.gt(norm, 0), norm, one)
    right = (m * (p * aa + r * ac) * B + n * (p * ac + r * cc) * D) * (largest / norm)
    return KroneckerFactors(marked(left), marked(right))


def _leading_eigenvector(
    k: TensorVariable, x: TensorVariable, y: TensorVariable, w: TensorVariable
) -> tuple[TensorVariable, TensorVariable]:
    """Return the eigenvector of the greatest eigenvalue of [[k, x], [y, w]], none negative.

    Its greater entry is 1.
    """
    one, half = np.asarray(1, k.type.dtype), np.asarray(0.5, k.type.dtype)
    difference = half * (k - w)
    root = pt.sqrt(difference**2 + x * y)
    upper = pt.ge(difference, 0)
    # the eigenvalue minus the lesser diagonal entry, a sum without cancellation
    lead = pt.abs(difference) + root
    safe = pt.switch(pt.gt(lead, 0), lead, one)
    return pt.switch(upper, one, x / safe), pt.switch(upper, y / safe, one)


def kronecker_solve(
    factors: KroneckerFactors | KroneckerSum, V: TensorVariable, gamma: TensorVariable | float
) -> TensorVariable:
    r"""Return the damped solution :math:`(Q + \pi\gamma I)^{-1} V (G + (\gamma/\pi) I)^{-1}`.

    For a :class:`KroneckerSum` it is the exact solution of the damped sum: each of the two
    products is damped in this way by :math:`\gamma / \sqrt 2`.

    Parameters
    ----------
    factors : KroneckerFactors or KroneckerSum
        The block of one layer.
    V : TensorVariable
        Of shape (d_in, d_out), or with a bias (d_in + 1, d_out), the last row for the bias.
    gamma : scalar
        The square root of the damping of the block, which is :math:`\gamma^2`.

    Returns
    -------
    TensorVariable
        Of the shape of V; NaN if a damped factor is not positive definite.

    Raises
    ------
    SpecError
        If gamma is a negative number.
    """
    if not isinstance(gamma, Variable):
        not_negative("gamma", gamma)
    return factors.solve(V, gamma)
