"""The local Jacobian of a loop over time: backpropagation of all columns in one reverse loop."""

from __future__ import annotations

from pytensor.tensor.variable import TensorVariable

from kfgn_graph.jacobians.core import LocalJacobian, Segment, register_local_jacobian
from kfgn_graph.layers.recurrence import Recurrence
from kfgn_graph.layers.time_loops import backwards
from kfgn_graph.linalg.vectors import total


class RecurrenceJacobian(LocalJacobian):
    """The Jacobian of a loop in its sequences, initial states and constants."""

    def transpose_apply(self, C: TensorVariable) -> list[TensorVariable]:
        node, v = self.segment.node, self.segment.output
        step = node.op.step
        cotangents = [C if u is v else None for u in node.outputs]
        found = backwards(step, node.inputs, node.outputs, cotangents, columns=1)
        pairs = list(zip(step.differentiable, found, strict=True))
        return [total([c for k, c in pairs if node.inputs[k] is u]) for u in self.segment.inputs]


@register_local_jacobian(Recurrence)
def local_jacobian_recurrence(op: Recurrence, segment: Segment) -> LocalJacobian:
    """Return the Jacobian of a loop, by the derivative of its step."""
    return RecurrenceJacobian(segment)
