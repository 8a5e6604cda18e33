"""In-place variants of Ops that have a property ``inplace``."""

from __future__ import annotations

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import NodeRewriter, node_rewriter

#: Position: after PyTensor's feature that validates in-place Ops is attached.
IN_PLACE = 50.5


def in_place_rewriter(*kinds: type[Op]) -> NodeRewriter:
    """Return a rewriter that sets the property ``inplace`` of the given kinds of Ops."""

    @node_rewriter(list(kinds))
    def in_place(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
        """Replace the Op by its in-place variant."""
        if node.op.inplace:
            return None
        properties = {name: getattr(node.op, name) for name in node.op.__props__}
        variant = type(node.op)(**properties | {"inplace": True})
        return list(variant(*node.inputs, return_list=True))

    return in_place
