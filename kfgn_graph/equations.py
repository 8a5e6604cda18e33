r"""The equations of the paper: one function each, in the order of the paper.

A. Botev, H. Ritter, D. Barber. *Practical Gauss-Newton Optimisation for Deep Learning*. ICML 2017.

In the paper examples are columns, :math:`h_\lambda = W_\lambda a_{\lambda-1}`. Here examples are
rows, :math:`h = a W + b`. W is therefore the transpose of the paper's, and a bias is the last row
of :math:`[W; b]`. The block of a layer over row-major :math:`\mathrm{vec}[W; b]` is
:math:`Q \otimes G`, as in the paper. N is the number of examples. All curvature refers to the
loss itself: sums over examples include the factor 1/N of a mean loss.

The paper states the recursions (8), (22), (24) and (26) for an affine map after an elementwise
transfer function. Here they are stated for a segment v = f(u) of any network with the local
Jacobian J = dv/du. The paper's step :math:`h_{\lambda+1} = W_{\lambda+1} f(h_\lambda)`, with
:math:`J = W_{\lambda+1} B_\lambda`, is two segments.
"""

from __future__ import annotations

from collections.abc import Callable

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.matrices import identity

Transpose = Callable[[TensorVariable], TensorVariable]
Vectors = list[TensorVariable]


def per_example_block(a: TensorVariable, H: TensorVariable) -> TensorVariable:
    r"""Eq. (7): the exact block :math:`\sum_n a_n a_n^T \otimes H_n`, summed over examples.

    With :math:`G_n` for :math:`H_n` it is the Gauss-Newton block, Eq. (14)-(16).

    Parameters
    ----------
    a : TensorVariable
        Inputs of the layer, of shape (N, T, d_in). T positions share the weight; without
        sharing T = 1.
    H : TensorVariable
        Pre-activation curvature of each example, of shape (N, T, d_out, T, d_out).

    Returns
    -------
    TensorVariable
        Of shape (d_in * d_out, d_in * d_out), over row-major vec(W).
    """
    n, t, d_out = a.shape[0], a.shape[1], H.shape[2]
    unit = identity(d_out, a.type.dtype)
    jacobian = a[:, :, None, :, None] * unit[None, None, :, None, :]
    J = jacobian.reshape((n, t * d_out, a.shape[2] * d_out))
    return (J.mT @ H.reshape((n, t * d_out, t * d_out)) @ J).sum(axis=0)


def preactivation_hessian(congruent: TensorVariable, D: TensorVariable | None) -> TensorVariable:
    r"""Eq. (8): :math:`\mathcal{H}_\lambda = B W^T \mathcal{H}_{\lambda+1} W B + D`.

    Parameters
    ----------
    congruent : TensorVariable
        :math:`J^T \mathcal{H} J` per example, of shape (N, d, d).
    D : TensorVariable or None
        The second-order term, of shape (N, d, d), or None if the segment is linear.

    Returns
    -------
    TensorVariable
        Of shape (N, d, d).
    """
    return congruent if D is None else congruent + D


def diagonal_term(d: TensorVariable) -> TensorVariable:
    r"""Eq. (9)-(10): :math:`D = \mathrm{diag}(f''(h)\, \partial E / \partial a)` per example.

    Parameters
    ----------
    d : TensorVariable
        The diagonals, of shape (N, d).

    Returns
    -------
    TensorVariable
        Of shape (N, d, d).
    """
    return d[:, :, None] * identity(d.shape[1], d.type.dtype)[None]


def gauss_newton[V](
    pushforward: Callable[[V], TensorVariable],
    curvature: Transpose,
    pullback: Callable[[TensorVariable], V],
    v: V,
) -> V:
    r"""Eq. (12)-(13): :math:`\bar G v = \sum_n J_n^T H_{L,n} J_n v`, for all parameters at once.

    Parameters
    ----------
    pushforward : callable
        :math:`v \mapsto J v`, from one vector per parameter to the shape of the output.
    curvature : callable
        :math:`u \mapsto H_L u` per example, where H_L includes the factor 1/N of a mean loss.
    pullback : callable
        :math:`u \mapsto J^T u`, one vector per parameter, summed over examples.
    v : vectors
        One for each parameter, of its shape.

    Returns
    -------
    vectors
        One for each parameter, of its shape; the sum over examples.
    """
    return pullback(curvature(pushforward(v)))


def input_factor(a: TensorVariable, bias: bool) -> TensorVariable:
    r"""Eq. (18) and (21): :math:`E[Q] = \frac{1}{N} \sum_n a_n a_n^T`, a mean over the batch.

    Parameters
    ----------
    a : TensorVariable
        Inputs of the layer, of shape (N, d_in).
    bias : bool
        Whether the layer has a bias. If so, a unit is appended to each :math:`a_n`.

    Returns
    -------
    TensorVariable
        Of shape (d_in, d_in), or (d_in + 1, d_in + 1) with a bias.
    """
    n = a.shape[0].astype(a.type.dtype)
    a = with_unit(a) if bias else a
    return a.T @ a / n


def with_unit(a: TensorVariable) -> TensorVariable:
    """Append a unit for the bias to the last axis: (..., d) to (..., d + 1)."""
    return pt.concatenate([a, pt.ones_like(a[..., :1])], axis=-1)


def kronecker_block(Q: TensorVariable, G: TensorVariable) -> TensorVariable:
    r"""Eq. (19)-(20): :math:`E[\mathcal{G}_\lambda] \approx E[Q_\lambda] \otimes E[G_\lambda]`.

    Parameters
    ----------
    Q, G : TensorVariable
        The factors, of shapes (d_in, d_in) and (d_out, d_out).

    Returns
    -------
    TensorVariable
        Of shape (d_in * d_out, d_in * d_out).
    """
    return pt.linalg.kron(Q, G)


def congruence(left: Transpose, G: TensorVariable, right: Transpose) -> TensorVariable:
    r"""Eq. (22): :math:`G_\lambda = J^T G_{\lambda+1} J` per example, with :math:`J = W B`.

    Parameters
    ----------
    left, right : callable
        :math:`X \mapsto J^T X` per example, from (N, d_out, m) to (N, d_in, m). They differ if
        the block couples two inputs of one segment.
    G : TensorVariable
        Of shape (N, d_out, d_out).

    Returns
    -------
    TensorVariable
        Of shape (N, d_in, d_in).
    """
    return right(left(G).mT).mT


def propagate_square_root(
    transposes: Callable[[TensorVariable], Vectors], C: TensorVariable
) -> Vectors:
    r"""Eq. (24): :math:`C_\lambda = B W^T C_{\lambda+1} = J^T C_{\lambda+1}`, for all columns.

    Parameters
    ----------
    transposes : callable
        :math:`X \mapsto J_i^T X` per example, with one result for each input of the segment.
    C : TensorVariable
        Columns at the result of the segment, of shape (K, N, ...).

    Returns
    -------
    list of TensorVariable
        Columns at each input, of shape (K, N, ...).
    """
    return transposes(C)


def expected_from_square_root(C: TensorVariable) -> TensorVariable:
    r"""Eq. (23) and (25): :math:`E[G] = \sum_n \sum_k C_n^k {C_n^k}^T`, exact.

    Parameters
    ----------
    C : TensorVariable
        Columns of the square root for all examples, of shape (K, N, d).

    Returns
    -------
    TensorVariable
        Of shape (d, d); the sum over columns and examples.
    """
    stacked = C.reshape((-1, C.shape[2]))
    return stacked.T @ stacked


def expected_congruence(
    G: TensorVariable, b_left: TensorVariable, b_right: TensorVariable
) -> TensorVariable:
    r"""Eq. (26): :math:`E[B\, G\, B] = G \circ \frac{1}{N} \sum_n b_n b_n^T` for a mean G.

    This is the nested expectation of KFRA. For :math:`G = W^T E[G_{\lambda+1}] W` it gives
    :math:`E[G_\lambda] \approx E[B W^T E[G_{\lambda+1}] W B]`.

    Parameters
    ----------
    G : TensorVariable
        Of shape (d, d).
    b_left, b_right : TensorVariable
        Diagonals of the two B, of shape (N, d). They differ if the block couples two inputs of
        one segment.

    Returns
    -------
    TensorVariable
        Of shape (d, d).
    """
    n = b_left.shape[0].astype(b_left.type.dtype)
    return G * (b_left.T @ b_right / n)
