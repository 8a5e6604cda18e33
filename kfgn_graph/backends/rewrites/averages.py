"""Moving averages in lazy branches, written over the old average."""

from __future__ import annotations

from collections.abc import Mapping

from pytensor.graph.basic import Apply, Variable

from kfgn_graph.backends.rewrites.aliasing import Buffers
from kfgn_graph.linalg.averages import FactorAverage


def average_of(old: Variable, result: Variable) -> Apply | None:
    """Return the node that makes a result the new average of ``old``, if one does."""
    node = result.owner
    if node is None or not isinstance(node.op, FactorAverage):
        return None
    return node if result is node.outputs[0] and old is node.inputs[0] else None


def over_the_old(average: Apply) -> Apply:
    """Return the same average in the old one's memory, which PyTensor is not told."""
    node: Apply = FactorAverage(inplace=True, declared=False).make_node(*average.inputs)
    return node


def averages_in_place(
    node: Apply, passed: Mapping[Variable, Variable], buffers: Buffers
) -> set[Apply]:
    """Return the averages in a choice's first branch that may be written over the old ones.

    Where the second branch passes the old one on, the result replaces it, and no other reads it.

    Parameters
    ----------
    node : Apply
        Of the choice between branches.
    passed : mapping of Variable to Variable
        What the second branch passes on, by :func:`passed_on`.
    buffers : Buffers
        Of the graph around the choice.
    """
    first, second = node.op.true_branch.fgraph, node.op.false_branch.fgraph
    found = set()
    for result, copy in zip(first.outputs, second.outputs, strict=True):
        if copy in passed:
            place = second.inputs.index(passed[copy])
            old, average = first.inputs[place], average_of(first.inputs[place], result)
            reads = buffers.reads(node.inputs[1 + place])
            if average is not None and reads == 1 == len(first.clients[old]):
                found.add(average)
    return found
