"""A batch's first rows as an array of their own, so that the whole array can be freed."""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.subtensor import Subtensor

from kfgn_graph.backends.rewrites.rematerialise import BEFORE_BRANCHES
from kfgn_graph.linalg.materialise import Materialise

#: The tags of what holds a batch's first rows: for Numba and C, where other rows are views and
#: cost nothing, and for JAX.
FEW_ROWS, SHARED_ROWS = "kfgn_few_rows", "kfgn_shared_rows"


def readers_of_rows(fgraph: FunctionGraph, node: Apply) -> list[Op]:
    """Return what reads an array's first rows, unless they are held already."""
    out = node.outputs[0]
    readers = [reader.op for reader, _ in fgraph.clients[out]]
    prefix = [isinstance(i, slice) and i.start is i.step is None for i in node.op.idx_list]
    wanted = prefix == [True] and out.type.ndim > 1 and Materialise not in map(type, readers)
    return readers if wanted else []


@node_rewriter([Subtensor])
def few_rows(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Hold an array's first rows, unless they are known to be most of it."""
    if not readers_of_rows(fgraph, node):
        return None
    rows, taken = node.inputs[0].type.shape[0], node.outputs[0].type.shape[0]
    few = rows is None or taken is None or 2 * taken <= rows
    return [Materialise()(node.op(*node.inputs))] if few else None


@node_rewriter([Subtensor])
def shared_rows(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Hold an array's first rows that are read more than once."""
    return (
        [Materialise()(node.op(*node.inputs))] if len(readers_of_rows(fgraph, node)) > 1 else None
    )


optdb.register(FEW_ROWS, dfs_rewriter(few_rows), position=BEFORE_BRANCHES)


optdb.register(SHARED_ROWS, dfs_rewriter(shared_rows), position=BEFORE_BRANCHES)
