"""An Op that copies an array, so that the array it is a part of can be freed."""

from __future__ import annotations

from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op


class Materialise(Op):
    """A copy of an array, made once for all clients and not fused with any of them."""

    __props__ = ()

    def make_node(self, x: Variable) -> Apply:
        """Return the node."""
        return Apply(self, [x], [x.type()])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Copy the array."""
        outputs[0][0] = inputs[0].copy()
