"""Rematerialisation of cheap arrays in lazy branches.

An elementwise result with a client outside a lazy branch and another inside it is stored until
the branch is evaluated. If the branch uses the operands anyway, it can compute the result itself:
the result of the outer node is then fused with its other clients and is never stored.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytensor.compile.mode import optdb
from pytensor.compile.ops import view_op
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.scalar import basic as scalars
from pytensor.tensor.elemwise import DimShuffle, Elemwise

from kfgn_graph.backends.rewrites.branch_conditions import (
    Conditions,
    conditions_of,
    conditions_of_nodes,
)

#: The tag of the rewrite, for ``Mode.including``.
REMATERIALISE = "kfgn_rematerialise"

#: Position: after equal nodes are merged, and before branches become graphs of their own.
BEFORE_BRANCHES = 48.85

#: Scalar Ops that take little time once their operands have been read.
CHEAP = (scalars.Add, scalars.Sub, scalars.Mul, scalars.Sqr, scalars.Neg, scalars.Cast)


class Rematerialise(GraphRewriter):
    """Compute cheap arrays again in the branches that use them."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite a graph."""
        conditions = conditions_of_nodes(fgraph)
        for node in fgraph.toposort():
            for condition, clients in clients_in_branches(fgraph, node, conditions).items():
                branch = Branch(fgraph, conditions, condition)
                if branch.can_compute(node.outputs[0]):
                    new = branch.computed(node.outputs[0])
                    for client, index in clients:
                        fgraph.change_node_input(client, index, new, reason=REMATERIALISE)


def clients_in_branches(
    fgraph: FunctionGraph, node: Apply, conditions: Mapping[Apply, Conditions]
) -> dict[Conditions, list[tuple[Apply, int]]]:
    """Return the clients of a cheap array that are evaluated less often, by their conditions."""
    found: dict[Conditions, list[tuple[Apply, int]]] = {}
    if is_cheap(node) and node.outputs[0].type.ndim > 1:
        for client, index in fgraph.clients[node.outputs[0]]:
            condition = conditions_of(client, index, conditions)
            if condition != conditions[node]:
                found.setdefault(condition, []).append((client, index))
    return found


class Branch:
    """The nodes of a graph that are evaluated under a condition.

    Parameters
    ----------
    fgraph : FunctionGraph
        The graph.
    conditions : dict
        The conditions of its nodes; those of new nodes are added.
    condition : frozenset
        The condition of the branch.
    """

    def __init__(
        self,
        fgraph: FunctionGraph,
        conditions: dict[Apply, Conditions],
        condition: Conditions,
    ) -> None:
        self._fgraph, self._conditions, self._condition = fgraph, conditions, condition

    def can_compute(self, v: Variable) -> bool:
        """Return whether cheap Ops compute a variable from values that the branch has."""
        node = v.owner
        return (
            node is not None
            and is_cheap(node)
            and all(self._is_available(u) or self.can_compute(u) for u in node.inputs)
        )

    def _is_available(self, v: Variable) -> bool:
        """Return whether a variable is a scalar or used within the branch."""
        if is_scalar(v):
            return True
        clients = self._fgraph.clients[v]
        return any(self._condition <= conditions_of(c, i, self._conditions) for c, i in clients)

    def computed(self, v: Variable) -> Variable:
        """Return a copy of a variable's node within the branch.

        The copy reads views: elementwise Ops that read the same array would be fused, within the
        branch and outside it.
        """
        inputs = [
            u
            if is_scalar(u)
            else self._added(view_op(u))
            if self._is_available(u)
            else self.computed(u)
            for u in v.owner.inputs
        ]
        return self._added(v.owner.clone_with_new_inputs(inputs).outputs[0])

    def _added(self, v: Variable) -> Variable:
        self._conditions[v.owner] = self._condition
        return v


def is_scalar(v: Variable) -> bool:
    """Return whether a variable is a constant or has a single entry."""
    return isinstance(v, Constant) or all(v.type.broadcastable)


def is_cheap(node: Apply) -> bool:
    """Return whether a node permutes axes, or is cheap elementwise arithmetic."""
    arithmetic = isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, CHEAP)
    return arithmetic or isinstance(node.op, DimShuffle)


optdb.register("kfgn_rematerialised", Rematerialise(), REMATERIALISE, position=BEFORE_BRANCHES)
