"""The local Jacobian of a loop over time, by the reverse loop on all columns at once."""

from __future__ import annotations

from pytensor.compile.rewriting import inline_ofg_node
from pytensor.tensor.variable import TensorVariable

import kfgn_graph.linalg.batched_scan  # noqa: F401  (a loop over several columns at once)
from kfgn_graph.jacobians.core import LocalJacobian, Segment, register_local_jacobian
from kfgn_graph.jacobians.fallback import PullbackJacobian
from kfgn_graph.layers.recurrence import Recurrence


class RecurrenceJacobian(PullbackJacobian):
    """The Jacobian of a loop, by backpropagation through time."""

    def value(self, inputs: list[TensorVariable]) -> TensorVariable:
        """Return v, as the output of the loop's own graph."""
        node = self.segment.node
        copy = node.op.make_node(*inputs)
        return inline_ofg_node(copy)[node.outputs.index(self.segment.output)]


@register_local_jacobian(Recurrence)
def local_jacobian_recurrence(op: Recurrence, segment: Segment) -> LocalJacobian:
    """Return the Jacobian of a loop in its sequences, initial states and constants."""
    return RecurrenceJacobian(segment)
