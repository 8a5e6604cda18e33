"""A copy that is made once, for all that read it."""

from __future__ import annotations

from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op


class Materialise(Op):
    """An array of its own with the same numbers, made once for all that read it."""

    __props__ = ()

    def make_node(self, x: Variable) -> Apply:
        """Return the node."""
        return Apply(self, [x], [x.type()])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Copy it."""
        outputs[0][0] = inputs[0].copy()
