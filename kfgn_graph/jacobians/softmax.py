r"""Softmax and log-softmax over the one axis of the event.

With :math:`p` of an example, :math:`J = \mathrm{diag}(p) - p p^T` of the softmax is symmetric, and
:math:`J = I - \mathbf 1 p^T` of its logarithm. The expectations of :math:`J^T G J` are products of
second moments of p with G.
"""

from __future__ import annotations

import pytensor.tensor as pt
from pytensor.tensor.special import LogSoftmax, Softmax
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.jacobians.core import (
    Blocks,
    LocalJacobian,
    Segment,
    flatten_examples,
    register_local_jacobian,
)
from kfgn_graph.jacobians.fallback import PullbackJacobian


class SoftmaxJacobian(LocalJacobian):
    """The Jacobian diag(p) - p p^T of each example."""

    def __init__(self, segment: Segment, p: TensorVariable) -> None:
        super().__init__(segment)
        self._p = flatten_examples(p, segment.example_axes[0])

    def _moment(self, left: TensorVariable) -> TensorVariable:
        """Return E[l p^T] for l of shape (R, K)."""
        return left.T @ self._p / self._p.shape[0].astype(self._p.type.dtype)

    def transpose_apply(self, C: TensorVariable) -> list[TensorVariable]:
        weighted = C * self._p[None]
        return [weighted - self._p[None] * weighted.sum(axis=-1, keepdims=True)]

    def mean_transpose_apply(self, M: TensorVariable) -> list[TensorVariable]:
        return [self._p.mean(axis=0)[:, None] * M - self._moment(self._p) @ M]

    def mean_congruence(self, G: TensorVariable) -> Blocks:
        weighted = self._p * (self._p @ G)
        crossed = self._moment(weighted)
        both = self._moment(self._p * weighted.sum(axis=1, keepdims=True))
        return [[G * self._moment(self._p) - crossed - crossed.T + both]]

    def second_order(self, g: TensorVariable) -> Blocks:
        r"""Return diag(w - s p) - w p^T - p w^T + 2 s p p^T, for w = g p and s its sum."""
        p, w = self._p, g * self._p
        s = w.sum(axis=1, keepdims=True)
        mixed = w[:, :, None] * p[:, None, :]
        outer = s[:, :, None] * p[:, :, None] * p[:, None, :]
        crossed = mixed + mixed.dimshuffle(0, 2, 1)
        return [[equations.diagonal_term(w - s * p) - crossed + outer + outer]]


class LogSoftmaxJacobian(SoftmaxJacobian):
    """The Jacobian I - 1 p^T of each example."""

    def transpose_apply(self, C: TensorVariable) -> list[TensorVariable]:
        return [C - self._p[None] * C.sum(axis=-1, keepdims=True)]

    def mean_transpose_apply(self, M: TensorVariable) -> list[TensorVariable]:
        return [M - self._p.mean(axis=0)[:, None] * M.sum(axis=0, keepdims=True)]

    def mean_congruence(self, G: TensorVariable) -> Blocks:
        p = self._p.mean(axis=0)
        crossed = p[:, None] * G.sum(axis=0, keepdims=True)
        return [[G - crossed - crossed.T + G.sum() * self._moment(self._p)]]

    def second_order(self, g: TensorVariable) -> Blocks:
        """Return -s (diag(p) - p p^T), for s the sum of g."""
        p, s = self._p, g.sum(axis=1, keepdims=True)
        outer = s[:, :, None] * p[:, :, None] * p[:, None, :]
        return [[outer - equations.diagonal_term(s * p)]]


@register_local_jacobian(Softmax, LogSoftmax)
def local_jacobian_softmax(op: Softmax | LogSoftmax, segment: Segment) -> LocalJacobian:
    """Return the structured Jacobian of a vector for each example, else the Op's pullback."""
    v, axes = segment.output, segment.example_axes[0]
    over = range(v.type.ndim) if op.axis is None else [axis % v.type.ndim for axis in op.axis]
    if list(over) != [axes] or v.type.ndim != axes + 1:
        return PullbackJacobian(segment)
    if isinstance(op, LogSoftmax):
        return LogSoftmaxJacobian(segment, pt.exp(v))
    return SoftmaxJacobian(segment, v)
