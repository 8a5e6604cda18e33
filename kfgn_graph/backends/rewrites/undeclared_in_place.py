"""In-place Ops in lazy branches, without PyTensor's knowledge.

An Op with the property ``declared`` computes its first result in the memory of its first input if
``inplace`` is true, and tells PyTensor so only if ``declared`` is true. PyTensor would refuse a
declared one in a conditional whose other branch returns the same input. An undeclared one is safe
if its result replaces the input and nothing else uses the input.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytensor.graph.basic import Apply, Variable

from kfgn_graph.backends.rewrites.aliasing import Buffers


def overwriter_of(old: Variable, result: Variable) -> Apply | None:
    """Return the node that can compute ``result`` in the memory of ``old``, or None."""
    node = result.owner
    if node is None or not hasattr(node.op, "declared"):
        return None
    return node if result is node.outputs[0] and old is node.inputs[0] else None


def undeclared_in_place(node: Apply) -> Apply:
    """Return the undeclared in-place variant of a node."""
    properties = {name: getattr(node.op, name) for name in node.op.__props__}
    op = type(node.op)(**properties | {"inplace": True, "declared": False})
    variant: Apply = op.make_node(*node.inputs)
    return variant


def safe_overwriters(
    node: Apply, aliased: Mapping[Variable, Variable], buffers: Buffers
) -> set[Apply]:
    """Return the nodes in a conditional's first branch that can work in place undeclared.

    Parameters
    ----------
    node : Apply
        A lazy conditional.
    aliased : mapping of Variable to Variable
        The copies that its second branch need not make, by
        :func:`~kfgn_graph.backends.rewrites.aliasing.unneeded_copies`.
    buffers : Buffers
        Of the graph that holds the conditional.
    """
    first, second = node.op.true_branch.fgraph, node.op.false_branch.fgraph
    found = set()
    for result, copy in zip(first.outputs, second.outputs, strict=True):
        if copy in aliased:
            place = second.inputs.index(aliased[copy])
            old = first.inputs[place]
            overwriter = overwriter_of(old, result)
            uses = buffers.uses(node.inputs[1 + place])
            if overwriter is not None and uses == 1 == len(first.clients[old]):
                found.add(overwriter)
    return found
