"""Scalars with many clients, computed once.

XLA fuses the expression of a scalar with every operation that reads it. The flag that accepts an
update depends on every layer and is read by every parameter: the program would grow with the
square of the number of layers.
"""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.tensor.elemwise import DimShuffle

from kfgn_graph.backends.rewrites.materialise import Materialise

#: The tag of the rewrite, for ``Mode.including``.
MATERIALISE_SHARED = "kfgn_materialise_shared_scalars"

#: The number of clients from which a scalar is materialised.
MANY = 8

#: Position: after all rewrites that merge or fuse nodes, and after branches are graphs.
LAST = 100.0


class MaterialiseShared(GraphRewriter):
    """Materialise the scalars that many nodes read."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite a graph."""
        for node in fgraph.toposort():
            for v in node.outputs:
                if is_shared_scalar(fgraph, node, v):
                    once = Materialise()(v)
                    for client, index in list(fgraph.clients[v]):
                        if client is not once.owner:
                            fgraph.change_node_input(
                                client, index, once, reason=MATERIALISE_SHARED
                            )


def is_shared_scalar(fgraph: FunctionGraph, node: Apply, v: Variable) -> bool:
    """Return whether a scalar is computed here, and read by many nodes."""
    if getattr(v.type, "ndim", None) != 0 or isinstance(node.op, Materialise):
        return False
    return len(fgraph.clients[v]) >= MANY


optdb.register("kfgn_shared_scalars", MaterialiseShared(), MATERIALISE_SHARED, position=LAST)
