"""Matrices read where they have been joined to further rows, so that a copy can be freed."""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.graph.traversal import applys_between
from pytensor.tensor.basic import Join

from kfgn_graph.backends.rewrites.branch_conditions import guards_of, guards_of_nodes
from kfgn_graph.backends.rewrites.rematerialise import BEFORE_BRANCHES
from kfgn_graph.linalg.shifted_solve import ShiftedSolve

#: The tag of what reads a gradient where it is joined: for Numba. C has its peak elsewhere.
READ_JOINED = "kfgn_read_joined"


class ReadJoined(GraphRewriter):
    """Let what reads a matrix read it where it has been joined to further rows, a copy of it.

    Not where the copy has another type, nor where a solution takes its memory.
    """

    def apply(self, fgraph: FunctionGraph) -> None:
        """Replace the first part for all that need it where it is joined."""
        guards = guards_of_nodes(fgraph)
        for node in fgraph.toposort():
            view = copied_part(fgraph, node)
            if view is not None:
                before = {*applys_between([], node.inputs), node}
                for reader, index in list(fgraph.clients[node.inputs[0]]):
                    needed = guards[node] <= guards_of(reader, index, guards)
                    if needed and reader not in before:
                        fgraph.change_node_input(reader, index, view, reason=READ_JOINED)


def copied_part(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """Return the rows of a join that are a computed matrix, its first part, and stay so."""
    if not isinstance(node.op, Join) or node.op.axis != 0 or node.outputs[0].type.ndim != 2:
        return None
    part, out = node.inputs[0], node.outputs[0]
    if part.owner is None or part.type.shape[0] is None or len(fgraph.clients[part]) < 2:
        return None
    view = out[: part.type.shape[0]]
    taken = any(isinstance(reader.op, ShiftedSolve) for reader, _ in fgraph.clients[out])
    return view if part.type.is_super(view.type) and not taken else None


optdb.register(READ_JOINED, ReadJoined(), position=BEFORE_BRANCHES)
