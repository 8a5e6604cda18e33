r"""The algebra of a layer's block :math:`Q \otimes G`, and the exact block that it approximates.

For row-major flattening of V, of shape (d_in, d_out), and symmetric Q and G,
:math:`(Q \otimes G)\,\mathrm{vec}(V) = \mathrm{vec}(Q V G)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.linalg import diagonals
from kfgn_graph.linalg.accumulation import marked
from kfgn_graph.linalg.matrices import ShiftedInverse, shifted_diagonal_inverse
from kfgn_graph.notebook import html_table


@dataclass(frozen=True, eq=False)
class KroneckerFactors:
    r"""The Kronecker-factored block of one layer, Eq. (20).

    Attributes
    ----------
    Q : TensorVariable
        The mean over the batch of a a^T, of shape (d_in, d_in). With a bias it is
        (d_in + 1, d_in + 1), and the bias is the last coordinate. The diagonal Q of a lookup is
        its diagonal, of shape (d_in,).
    G : TensorVariable
        The pre-activation curvature of the loss, summed over the batch, of shape (d_out, d_out);
        or its diagonal, of shape (d_out,).
    diagonal : bool
        Whether a matrix G is diagonal, as it is at the output of a loss with a ``DiagonalHead``.
    """

    Q: TensorVariable
    G: TensorVariable
    diagonal: bool = False

    def factors(self) -> dict[str, TensorVariable]:
        """Return the factors by name."""
        return {"Q": self.Q, "G": self.G}

    def matmul(self, V: TensorVariable) -> TensorVariable:
        """Return Q V G, of the shape of V, (d_in[+1], d_out)."""
        return diagonals.right_product(diagonals.left_product(self.Q, V), self.G)

    def trace(self) -> TensorVariable:
        """Return the trace of the block, tr(Q) tr(G)."""
        return diagonals.trace(self.Q) * diagonals.trace(self.G)

    def to_dense(self) -> TensorVariable:
        """Return Q (x) G as a square matrix over row-major vec([W; b]): for small networks."""
        Q, G = diagonals.as_matrix(self.Q), diagonals.as_matrix(self.G)
        return equations.kronecker_block(Q, G)

    def solve(self, V: TensorVariable, gamma: TensorVariable | float) -> TensorVariable:
        """Return :func:`kfgn_graph.kronecker_solve` for this block."""
        return KroneckerFactors(*damped_inverses(self, gamma)).matmul(V)

    def _repr_html_(self) -> str:
        """Return a table of the factors, for a notebook."""
        rows = []
        for symbol, factor in (("Q", self.Q), ("G", self.G)):
            lengths = ("?" if n is None else str(n) for n in factor.type.shape)
            form = "diagonal" if symbol == "G" and self.diagonal else "symmetric"
            name = factor.name or ""
            rows.append((symbol, name, " x ".join(lengths), factor.type.dtype, form))
        head = ("factor", "name", "shape", "dtype", "form")
        return html_table("KroneckerFactors, the block Q \u2297 G", head, rows)


@dataclass(frozen=True, eq=False)
class ExactBlock:
    """The exact block of one layer, Eq. (7), stored as its per-example parts.

    Attributes
    ----------
    inputs : TensorVariable
        The inputs of the layer, of shape (R, T, d_in[+1]). T positions share the weight.
    curvature : TensorVariable
        The pre-activation curvature of each example, of shape (R, T, d_out, T, d_out).
    """

    inputs: TensorVariable
    curvature: TensorVariable

    def to_dense(self) -> TensorVariable:
        """Return the block as a square matrix over row-major vec([W; b])."""
        return equations.per_example_block(self.inputs, self.curvature)


def damping_split(factors: KroneckerFactors) -> TensorVariable:
    r"""Return pi, which splits the damping between Q and G.

    It is the root of the ratio of their mean eigenvalues,
    :math:`\pi^2 = \frac{\mathrm{tr}(Q) / d_Q}{\mathrm{tr}(G) / d_G}`, or 1 if either trace is
    not positive (Martens and Grosse 2015, section 6.3).
    """
    dtype = factors.Q.type.dtype
    return damping_split_of_means(
        diagonals.trace(factors.Q) / factors.Q.shape[0].astype(dtype),
        diagonals.trace(factors.G) / factors.G.shape[0].astype(dtype),
    )


def damping_split_of_means(q: TensorVariable, g: TensorVariable) -> TensorVariable:
    """Return pi, given the mean eigenvalues q of Q and g of G."""
    one = np.asarray(1, q.type.dtype)
    usable = pt.gt(q, 0) & pt.gt(g, 0)
    return marked(pt.sqrt(pt.switch(usable, q, one) / pt.switch(usable, g, one)))


def factor_shifts(
    factors: KroneckerFactors, gamma: TensorVariable | float
) -> tuple[TensorVariable, TensorVariable]:
    r"""Return the shifts that damp Q and G: :math:`\pi\gamma` and :math:`\gamma / \pi`."""
    pi = damping_split(factors)
    gamma = pt.as_tensor(gamma).astype(factors.Q.type.dtype)
    return pi * gamma, gamma / pi


#: The number of layers from which the shifts of all layers are computed as one vector: compilers
#: take a time for each node, however small.
MANY_LAYERS = 16


def all_factor_shifts(
    blocks: Sequence[KroneckerFactors], gammas: Sequence[TensorVariable]
) -> list[tuple[TensorVariable, TensorVariable]]:
    """Return :func:`factor_shifts` of every layer.

    Parameters
    ----------
    blocks : sequence of KroneckerFactors
        The factors of each layer.
    gammas : sequence of scalar TensorVariable
        Their dampings.
    """
    if len(blocks) < MANY_LAYERS:
        return [factor_shifts(*pair) for pair in zip(blocks, gammas, strict=True)]
    dtype, count = blocks[0].Q.type.dtype, len(blocks)
    q, g = (
        pt.stack([diagonals.trace(A) for A in factors])
        / pt.stack([A.shape[0].astype(dtype) for A in factors])
        for factors in ([block.Q for block in blocks], [block.G for block in blocks])
    )
    pi, gamma = damping_split_of_means(q, g), pt.stack([v.astype(dtype) for v in gammas])
    of_Q, of_G = pi * gamma, gamma / pi
    return [(of_Q[i], of_G[i]) for i in range(count)]


def damped(factors: KroneckerFactors, gamma: TensorVariable | float) -> KroneckerFactors:
    r"""Return the damped factors, :math:`Q + \pi\gamma I` and :math:`G + (\gamma / \pi) I`."""
    q, g = factor_shifts(factors, gamma)
    return KroneckerFactors(diagonals.shifted(factors.Q, q), diagonals.shifted(factors.G, g))


def damped_inverses(
    factors: KroneckerFactors, gamma: TensorVariable | float, retry: float = 0.0
) -> tuple[TensorVariable, TensorVariable]:
    """Return the inverses of the damped factors.

    The inverse of a factor that is not positive definite is NaN. If ``retry`` is not 0, the shift
    of such a factor is first multiplied by it for a second attempt.
    """
    q, g = factor_shifts(factors, gamma)
    if factors.diagonal:
        return _inverse(factors.Q, q, retry), shifted_diagonal_inverse(factors.G, g, retry)
    return _inverse(factors.Q, q, retry), _inverse(factors.G, g, retry)


def _inverse(A: TensorVariable, shift: TensorVariable, retry: float) -> TensorVariable:
    """Return (A + shift I)^-1, of the shape of A."""
    if diagonals.is_vector(A):
        return diagonals.inverse_of_vector(A, shift, retry)
    return ShiftedInverse(retry)(A, shift)


def corrected_eigenvalues(
    a: TensorVariable, C: TensorVariable, Q_vectors: TensorVariable, G_vectors: TensorVariable
) -> TensorVariable:
    r"""Return the diagonal of a layer's Gauss-Newton block in the Kronecker eigenbasis.

    :math:`s_{ij} = \sum_n \sum_k (u_i^T a_n)^2 (v_j^T C_n^k)^2` for the eigenvectors u of Q and v
    of G (George et al. 2018, "EKFAC").

    Parameters
    ----------
    a : TensorVariable
        The inputs of the layer, with a unit appended for a bias, of shape (N, d_in[+1]).
    C : TensorVariable
        The columns of the square root at its pre-activation, of shape (K, N, d_out).
    Q_vectors, G_vectors : TensorVariable
        The eigenvectors, as the columns of square matrices.

    Returns
    -------
    TensorVariable
        s, of shape (d_in[+1], d_out), summed over the batch in the units of the loss.
    """
    return marked(((a @ Q_vectors) ** 2).T @ ((C @ G_vectors) ** 2).sum(axis=0))
