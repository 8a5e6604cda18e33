"""What has to be so for a node of a graph to be computed: which branches of conditionals."""

from __future__ import annotations

from collections.abc import Mapping

from pytensor.conditional.op import IfElse
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph, Output

#: Where a node is computed: conditionals, each with whether it takes its second branch.
Guards = frozenset[tuple[Apply, bool]]


def guards_of_nodes(fgraph: FunctionGraph) -> dict[Apply, Guards]:
    """Return the guards of every node: what all that read its results have in common."""
    guards: dict[Apply, Guards] = {}
    for node in reversed(fgraph.toposort()):
        readers = [of_one for v in node.outputs for of_one in guards_of_readers(fgraph, v, guards)]
        guards[node] = frozenset.intersection(*readers)
    return guards


def guards_of_readers(
    fgraph: FunctionGraph, v: Variable, guards: Mapping[Apply, Guards]
) -> list[Guards]:
    """Return for each reader of a variable what has to be so for it to be needed."""
    return [guards_of(reader, i, guards) for reader, i in fgraph.clients[v]]


def guards_of(reader: Apply, index: int, guards: Mapping[Apply, Guards]) -> Guards:
    """Return what has to be so for a reader to need its input of that index."""
    if isinstance(reader.op, Output):
        return frozenset()
    if isinstance(reader.op, IfElse) and index > 0:
        return guards[reader] | {(reader, index > reader.op.n_outs)}
    return guards[reader]


def awaited(fgraph: FunctionGraph, v: Variable, guards: Mapping[Apply, Guards]) -> list[Variable]:
    """Return those variables with all of which computed nobody will need v.

    They are the results of its readers, or for what is in a branch that may not be taken, of the
    conditional that decides.
    """
    own = guards[v.owner]
    found: list[Variable] = []
    for reader, index in fgraph.clients[v]:
        deciding = [node for node, _ in guards_of(reader, index, guards) - own]
        outermost = [node for node in deciding if guards[node] <= own]
        found += (outermost[0] if outermost else reader).outputs
    return found
