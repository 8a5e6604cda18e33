"""Elementwise Ops and their compositions: B = diag(b) with b = f'(u), for each example."""

from __future__ import annotations

import pytensor.tensor as pt
from pytensor.gradient import grad
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.tensor.elemwise import Elemwise
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


class DiagonalJacobian(LocalJacobian):
    """The Jacobians B_i = diag(b_i), with b_i = dv/du_i entry by entry.

    The Ops' own pullbacks give b_i. For an input that is broadcast along event axes, results are
    summed over these axes.
    """

    def __init__(self, segment: Segment) -> None:
        super().__init__(segment)
        v = segment.output
        self._dummies = [pt.tensor(dtype=u.type.dtype, shape=v.type.shape) for u in segment.inputs]
        self._copy = _rebuilt_over(v, dict(zip(segment.inputs, self._dummies, strict=True)))
        slopes = grad(
            None,
            self._dummies,
            known_grads={self._copy: pt.ones_like(self._copy)},
            disconnected_inputs="ignore",
        )
        # PyTensor gives a float32 comparison a gradient of float64 zeros
        self._slopes = [s.astype(v.type.dtype) for s in slopes]
        self.slopes = [self._per_example(slope) for slope in self._slopes]

    def _per_example(self, over_dummies: TensorVariable) -> TensorVariable:
        """Substitute the inputs for the dummies; return the result in v's shape as (R, *event)."""
        v = self.segment.output
        real = dict(zip(self._dummies, self.segment.inputs, strict=True))
        result = clone_replace(over_dummies, real, rebuild_strict=False)
        if result.type.broadcastable != v.type.broadcastable:
            result = result * pt.ones_like(v)
        return flatten_examples(result, self.segment.example_axes[0])

    def _broadcast_axes(self, index: int) -> tuple[int, ...]:
        """Return the event axes along which input ``index`` is broadcast."""
        axes = self.segment.example_axes
        v = self.segment.output.type.broadcastable[axes[0] :]
        u = self.segment.inputs[index].type.broadcastable[axes[1 + index] :]
        return tuple(k for k, (a, b) in enumerate(zip(u, v, strict=True)) if a and not b)

    def transpose_apply(self, C: TensorVariable) -> list[TensorVariable]:
        results = []
        for index, slope in enumerate(self.slopes):
            result = C * slope[None]
            broadcast = self._broadcast_axes(index)
            if broadcast:
                result = result.sum(axis=tuple(2 + k for k in broadcast), keepdims=True)
            results.append(result)
        return results

    def mean_transpose_apply(self, M: TensorVariable) -> list[TensorVariable]:
        return [
            self._collapse(i, slope.mean(axis=0).flatten()[:, None] * M)
            for i, slope in enumerate(self.slopes)
        ]

    def mean_congruence(self, G: TensorVariable) -> Blocks:
        n = len(self.slopes)
        flat = [slope.reshape((-1, product(self.segment.event()))) for slope in self.slopes]
        return [
            [
                self._collapse_both(i, j, equations.expected_congruence(G, flat[i], flat[j]))
                for j in range(i, n)
            ]
            for i in range(n)
        ]

    def second_order(self, g: TensorVariable) -> Blocks | None:
        return [
            [self._second_block(i, j, g) for j in range(i, len(self.slopes))]
            for i in range(len(self.slopes))
        ]

    def _second_block(self, i: int, j: int, g: TensorVariable) -> TensorVariable:
        curved = grad(self._slopes[i].sum(), self._dummies[j], disconnected_inputs="ignore")
        curved = self._per_example(curved.astype(g.type.dtype))
        d = (curved * g).reshape((g.shape[0], product(self.segment.event())))
        diagonal = equations.diagonal_term(d)
        return self._collapse_both(i, j, diagonal)

    def _collapse(self, index: int, M: TensorVariable) -> TensorVariable:
        """Sum rows of M, (..., D_v, m), over the axes along which the input is broadcast."""
        broadcast = self._broadcast_axes(index)
        if not broadcast:
            return M
        event = self.segment.event()
        lead = [M.shape[k] for k in range(M.type.ndim - 2)]
        full = M.reshape((*lead, *event, M.shape[M.type.ndim - 1]))
        summed = full.sum(axis=tuple(len(lead) + k for k in broadcast))
        return summed.reshape(
            (*lead, product(self.segment.event(index)), M.shape[M.type.ndim - 1])
        )

    def _collapse_both(self, i: int, j: int, M: TensorVariable) -> TensorVariable:
        """Sum rows of M for input i and columns for input j, as :meth:`_collapse` does."""
        return self._collapse(j, self._collapse(i, M).mT).mT


def _rebuilt_over(v: TensorVariable, replacements: dict[Variable, Variable]) -> TensorVariable:
    """Rebuild the elementwise composition v with its inputs replaced by full-shape dummies."""
    memo: dict[Variable, Variable] = dict(replacements)

    def rebuilt(variable: Variable) -> Variable:
        if variable in memo:
            return memo[variable]
        node = variable.owner
        if node is None or not isinstance(node.op, Elemwise):
            return variable
        inputs = [rebuilt(u) for u in node.inputs]
        changed = any(new is not old for new, old in zip(inputs, node.inputs, strict=True))
        memo[variable] = node.op(*inputs) if changed else variable
        return memo[variable]

    return rebuilt(v)


@register_local_jacobian(Elemwise)
def local_jacobian_elementwise(op: Elemwise, segment: Segment) -> LocalJacobian:
    """Return B = diag(b) for any composition of elementwise Ops."""
    return DiagonalJacobian(segment)
