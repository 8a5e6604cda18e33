"""Conditions under which the nodes of a graph with lazy branches are evaluated."""

from __future__ import annotations

from collections.abc import Mapping

from pytensor.conditional.op import IfElse
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph, Output

#: A conjunction: ``(conditional, False)`` stands for "it takes its first branch", and
#: ``(conditional, True)`` for "it takes its second branch". The empty set is always true.
Conditions = frozenset[tuple[Apply, bool]]


def conditions_of_nodes(fgraph: FunctionGraph) -> dict[Apply, Conditions]:
    """Return for each node the conditions that all clients of its results share."""
    conditions: dict[Apply, Conditions] = {}
    for node in reversed(fgraph.toposort()):
        of_clients = [
            condition
            for v in node.outputs
            for condition in conditions_of_clients(fgraph, v, conditions)
        ]
        conditions[node] = frozenset.intersection(*of_clients)
    return conditions


def conditions_of_clients(
    fgraph: FunctionGraph, v: Variable, conditions: Mapping[Apply, Conditions]
) -> list[Conditions]:
    """Return the conditions under which each client of a variable needs it."""
    return [conditions_of(client, i, conditions) for client, i in fgraph.clients[v]]


def conditions_of(client: Apply, index: int, conditions: Mapping[Apply, Conditions]) -> Conditions:
    """Return the conditions under which a client needs its input number ``index``."""
    if isinstance(client.op, Output):
        return frozenset()
    if isinstance(client.op, IfElse) and index > 0:
        return conditions[client] | {(client, index > client.op.n_outs)}
    return conditions[client]


def freed_after(
    fgraph: FunctionGraph, v: Variable, conditions: Mapping[Apply, Conditions]
) -> list[Variable]:
    """Return the variables after whose evaluation nothing needs ``v`` any more.

    A client that is evaluated whenever ``v`` is contributes its results. A client within a
    branch that may not be taken contributes the results of the conditional that decides.
    """
    own = conditions[v.owner]
    found: list[Variable] = []
    for client, index in fgraph.clients[v]:
        deciding = [node for node, _ in conditions_of(client, index, conditions) - own]
        outermost = [node for node in deciding if conditions[node] <= own]
        found += (outermost[0] if outermost else client).outputs
    return found
