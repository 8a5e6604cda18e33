"""Copies of the leading rows of an array, so that the whole array can be freed.

A view of some rows keeps the memory of the whole array. XLA takes the rows anew in each operation
that reads them, which keeps the array as well.
"""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.subtensor import Subtensor

from kfgn_graph.backends.rewrites.materialise import Materialise
from kfgn_graph.backends.rewrites.rematerialise import BEFORE_BRANCHES

#: The tags of the rewrites, for ``Mode.including``: for linkers whose slices are views, and for
#: JAX.
COPY_FEW_ROWS, COPY_SHARED_ROWS = "kfgn_copy_few_rows", "kfgn_copy_shared_rows"


def clients_of_rows(fgraph: FunctionGraph, node: Apply) -> list[Op]:
    """Return the Ops that use a slice of leading rows; none if the slice is copied already."""
    out = node.outputs[0]
    clients = [client.op for client, _ in fgraph.clients[out]]
    leading = [isinstance(i, slice) and i.start is i.step is None for i in node.op.idx_list]
    applies = leading == [True] and out.type.ndim > 1 and Materialise not in map(type, clients)
    return clients if applies else []


@node_rewriter([Subtensor])
def copy_few_rows(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Copy leading rows, unless they are known to be more than half of the array."""
    if not clients_of_rows(fgraph, node):
        return None
    rows, taken = node.inputs[0].type.shape[0], node.outputs[0].type.shape[0]
    few = rows is None or taken is None or 2 * taken <= rows
    return [Materialise()(node.op(*node.inputs))] if few else None


@node_rewriter([Subtensor])
def copy_shared_rows(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Copy leading rows that have several clients."""
    shared = len(clients_of_rows(fgraph, node)) > 1
    return [Materialise()(node.op(*node.inputs))] if shared else None


optdb.register(COPY_FEW_ROWS, dfs_rewriter(copy_few_rows), position=BEFORE_BRANCHES)
optdb.register(COPY_SHARED_ROWS, dfs_rewriter(copy_shared_rows), position=BEFORE_BRANCHES)
