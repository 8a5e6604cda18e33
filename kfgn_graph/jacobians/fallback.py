"""The local Jacobian of an Op without a rule, by the Op's own pullback."""

from __future__ import annotations

from pytensor.graph.op import Op
from pytensor.graph.replace import clone_replace, vectorize_graph
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.jacobians.core import LocalJacobian, Segment, register_local_jacobian
from kfgn_graph.layers.derivatives import grads
from kfgn_graph.layers.examples import acts_row_by_row


class PullbackJacobian(LocalJacobian):
    """A local Jacobian that provides ``transpose_apply`` only, by the Op's pullback."""

    def transpose_apply(self, C: TensorVariable) -> list[TensorVariable]:
        v, inputs = self.segment.output, self.segment.inputs
        dummies = {u: u.type() for u in inputs}
        copy = self.segment.node.clone_with_new_inputs(
            [dummies.get(u, u) for u in self.segment.node.inputs]
        )
        out = copy.outputs[self.segment.node.outputs.index(v)]
        g = v.type()
        pulled = grads(
            None, list(dummies.values()), known_grads={out: g}, disconnected_inputs="ignore"
        )
        pulled = clone_replace(pulled, {d: u for u, d in dummies.items()})
        stacked = vectorize_graph(
            pulled, {g: C.reshape((C.shape[0], *(v.shape[k] for k in range(v.ndim))))}
        )
        return [
            p.reshape((C.shape[0], C.shape[1], *self.segment.event(i)))
            for i, p in enumerate(stacked)
        ]


class RowwiseJacobian(PullbackJacobian):
    """The Jacobian of a linear Op of its first input that acts on each row by itself.

    All columns are pulled back by one call, as more rows.
    """

    def transpose_apply(self, C: TensorVariable) -> list[TensorVariable]:
        v, (u,) = self.segment.output, self.segment.inputs
        image = u.type()
        copy = self.segment.node.clone_with_new_inputs([image, *self.segment.node.inputs[1:]])
        lengths = [v.shape[k] for k in range(1, v.type.ndim)]
        g = C.reshape((-1, *lengths))
        (pulled,) = grads(None, [image], known_grads={copy.outputs[0]: g})
        pulled = clone_replace(pulled, {image: u})
        return [pulled.reshape((C.shape[0], C.shape[1], *self.segment.event(0)))]


@register_local_jacobian(Op)
def local_jacobian_fallback(op: Op, segment: Segment) -> LocalJacobian:
    """Return the local Jacobian of an Op that has no rule: a more specific type comes first."""
    rowwise = acts_row_by_row(op) and segment.inputs == (segment.node.inputs[0],)
    if rowwise and segment.example_axes == (1, 1):
        return RowwiseJacobian(segment)
    return PullbackJacobian(segment)
