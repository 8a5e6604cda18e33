"""The maximum over axes of the event: a sum of entries, which each example selects."""

from __future__ import annotations

import pytensor.tensor as pt
from pytensor.tensor.math import Max, Min
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.jacobians.core import (
    Blocks,
    LocalJacobian,
    Segment,
    flatten_examples,
    product,
    register_local_jacobian,
)
from kfgn_graph.jacobians.reindex import local_jacobian_sum


class SelectingJacobian(LocalJacobian):
    r"""The Jacobian S diag(m), S the sum over the axes and m the selection, of zeros and ones.

    :math:`\mathrm{E}[J^T G J] = S^T G S \circ \mathrm{E}[m m^T]`.
    """

    def __init__(self, segment: Segment, summed: LocalJacobian, chosen: TensorVariable) -> None:
        super().__init__(segment)
        self._sum = summed
        self._chosen = flatten_examples(chosen, segment.example_axes[1])
        self._flat = self._chosen.reshape((-1, product(segment.event(0))))

    def transpose_apply(self, C: TensorVariable) -> list[TensorVariable]:
        return [self._sum.transpose_apply(C)[0] * self._chosen[None]]

    def mean_transpose_apply(self, M: TensorVariable) -> list[TensorVariable]:
        return [self._flat.mean(axis=0)[:, None] * self._sum.mean_transpose_apply(M)[0]]

    def mean_congruence(self, G: TensorVariable) -> Blocks:
        expanded = self._sum.mean_congruence(G)[0][0]
        return [[equations.expected_congruence(expanded, self._flat, self._flat)]]

    def second_order(self, g: TensorVariable) -> Blocks | None:
        return None


@register_local_jacobian(Max, Min)
def local_jacobian_maximum(op: Max | Min, segment: Segment) -> LocalJacobian:
    """Select the greatest entries, or the least; of equal ones all, as the Op's pullback does."""
    (u,), v = segment.inputs, segment.output
    axes = range(u.type.ndim) if op.axis is None else op.axis
    chosen = pt.eq(u, pt.expand_dims(v, tuple(axes))).astype(v.type.dtype)
    return SelectingJacobian(segment, local_jacobian_sum(op, segment), chosen)
