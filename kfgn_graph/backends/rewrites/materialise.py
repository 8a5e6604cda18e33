"""A copy as a node of the graph."""

from __future__ import annotations

from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op


class Materialise(Op):
    """The identity, as a copy into a new contiguous buffer.

    All clients share the copy. If the input is a view, its base array can be freed.
    """

    __props__ = ()

    def make_node(self, x: Variable) -> Apply:
        """Return the node."""
        return Apply(self, [x], [x.type()])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Copy the array."""
        outputs[0][0] = inputs[0].copy()
