"""Views of joined matrices in place of their parts, so that the parts can be freed."""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.graph.traversal import applys_between
from pytensor.tensor.basic import Join

from kfgn_graph.backends.rewrites.branch_conditions import conditions_of, conditions_of_nodes
from kfgn_graph.backends.rewrites.rematerialise import BEFORE_BRANCHES

#: The tag of the rewrite, for ``Mode.including``.
VIEW_JOINED = "kfgn_view_joined"


class ViewJoined(GraphRewriter):
    """Replace the first part of a join by a view of the result, for all other clients.

    A part is not replaced if the view has another type, or if an Op may overwrite the result.
    """

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite a graph."""
        conditions = conditions_of_nodes(fgraph)
        for node in fgraph.toposort():
            view = view_of_part(fgraph, node)
            if view is not None:
                before = {*applys_between([], node.inputs), node}
                for client, index in list(fgraph.clients[node.inputs[0]]):
                    computed = conditions[node] <= conditions_of(client, index, conditions)
                    if computed and client not in before:
                        fgraph.change_node_input(client, index, view, reason=VIEW_JOINED)


def view_of_part(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """Return the rows of a join that equal its first part, or None if they cannot replace it."""
    if not isinstance(node.op, Join) or node.op.axis != 0 or node.outputs[0].type.ndim != 2:
        return None
    part, out = node.inputs[0], node.outputs[0]
    if part.owner is None or part.type.shape[0] is None or len(fgraph.clients[part]) < 2:
        return None
    view = out[: part.type.shape[0]]
    overwritten = any(hasattr(client.op, "inplace") for client, _ in fgraph.clients[out])
    return view if part.type.is_super(view.type) and not overwritten else None


optdb.register(VIEW_JOINED, ViewJoined(), position=BEFORE_BRANCHES)
