"""Decomposition of a loss into elementwise terms."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.reshape import JoinDims
from pytensor.tensor.shape import Reshape
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.linearity import is_linear
from kfgn_graph.layers.traversal import dependents


@dataclass(frozen=True, eq=False)
class ElementwiseTerm:
    """One elementwise term e(z, ...) of a loss.

    Attributes
    ----------
    value : TensorVariable
        The term, of z's shape or flattened.
    nodes : tuple of Apply
        The nodes that compute the terms of the loss, in forward order.
    """

    value: TensorVariable
    nodes: tuple[Apply, ...]


def elementwise_terms(loss: TensorVariable, z: TensorVariable) -> list[ElementwiseTerm] | None:
    """Return elementwise terms of z in which ``loss`` is linear, or None if there are none."""
    varying = dependents([loss], [z])
    aligned: set[Variable] = {z}
    nodes: list[Apply] = []
    terms: list[Variable] = []
    for node in toposort([loss]):
        if not any(v in varying for v in node.outputs) or node.outputs[0] is z:
            continue
        reads = [v for v in node.inputs if v in varying]
        if all(v in aligned for v in reads) and _keeps_alignment(node, reads):
            aligned.add(node.outputs[0])
            nodes.append(node)
        else:
            terms.extend(v for v in reads if v in aligned and v not in terms)
            if isinstance(node.op, Elemwise) and len(reads) > sum(v in aligned for v in reads) > 0:
                return None
    if not terms or not is_linear(loss, terms):
        return None
    region = _with_input_nodes(loss, nodes, varying)
    return [ElementwiseTerm(term, region) for term in terms]


def _with_input_nodes(
    loss: TensorVariable, nodes: list[Apply], varying: Collection[Variable]
) -> tuple[Apply, ...]:
    """Add the elementwise nodes that compute other inputs of ``nodes``, such as 1 - y."""
    wanted = set(nodes)
    pending = [v for node in nodes for v in node.inputs if v not in varying]
    while pending:
        node = pending.pop().owner
        if node is not None and node not in wanted and isinstance(node.op, Elemwise):
            wanted.add(node)
            pending.extend(node.inputs)
    return tuple(node for node in toposort([loss]) if node in wanted)


def _keeps_alignment(node: Apply, reads: list[Variable]) -> bool:
    """Return whether the node is elementwise without broadcasting, or flattens to a vector."""
    out = node.outputs[0].type
    if isinstance(node.op, Elemwise):
        return all(v.type.broadcastable == out.broadcastable for v in reads)
    return isinstance(node.op, Reshape | JoinDims) and out.ndim == 1
