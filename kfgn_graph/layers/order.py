"""The forward order of the layers."""

from __future__ import annotations

from collections.abc import Sequence

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import toposort

from kfgn_graph.layers.ir import Affine
from kfgn_graph.layers.views import underlying_parameter


def in_forward_order(nodes: Sequence[Apply], parameters: Sequence[Variable]) -> list[Apply]:
    """Return affine nodes by their depth, and those of one depth in the order of the parameters.

    The order of a graph's nodes is not unique, and depends on what its types say of shapes.
    """
    known, depths = frozenset(parameters), dict[Variable, int]()
    for node in toposort([n.outputs[0] for n in nodes]):
        depth = max((depths.get(v, 0) for v in node.inputs), default=0)
        depths.update(dict.fromkeys(node.outputs, depth + isinstance(node.op, Affine)))

    def place(node: Apply) -> tuple[int, int]:
        weight = underlying_parameter(node.inputs[1], known)
        index = len(parameters) if weight is None else list(parameters).index(weight)
        return depths[node.outputs[0]], index

    return sorted(nodes, key=place)
