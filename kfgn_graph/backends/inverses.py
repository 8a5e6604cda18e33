r"""Rewrites of the inverses of :mod:`kfgn_graph.linalg.matrices`.

An inverse that is used in one product only is replaced by a solve: always on JAX, where an
explicit inverse takes a triangular solve and a product more, and for large graphs on Numba and C,
where POTRI is faster for small ones. On Numba and C, inverses, averages and solves overwrite the
values that they replace.
"""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.math import Dot

from kfgn_graph.backends.rewrites.blas_op import BEFORE_BLAS
from kfgn_graph.backends.rewrites.graph_size import LargeGraphRewriter
from kfgn_graph.backends.rewrites.op_in_place import IN_PLACE, in_place_rewriter
from kfgn_graph.linalg.averages import FactorAverage
from kfgn_graph.linalg.matrices import RefreshedInverse, ShiftedInverse
from kfgn_graph.linalg.shifted_solve import ShiftedSolve

#: The tag of the rewrite to solves on Numba and C, for ``Mode.including``.
FACTORED_SOLVES = "kfgn_factored_solves"


@node_rewriter([ShiftedInverse])
def factored_product(fgraph: FunctionGraph, node: Apply) -> dict[Variable, Variable] | None:
    """Replace a product with an inverse by a solve, if it is the inverse's only client."""
    clients = fgraph.clients[node.out]
    if len(clients) != 1:
        return None
    ((client, place),) = clients
    if not isinstance(client.op, Dot) or client.inputs[1 - place].type.ndim != 2:
        return None
    solve = ShiftedSolve(node.op.retry, left=place == 0)
    return {client.out: solve(*node.inputs, client.inputs[1 - place])}


optdb.register("kfgn_solves", dfs_rewriter(factored_product), "jax", position=BEFORE_BLAS)
optdb.register(
    FACTORED_SOLVES,
    LargeGraphRewriter(factored_product, ignore_newtrees=True),
    position=BEFORE_BLAS,
)
optdb.register(
    "kfgn_inverses_in_place",
    dfs_rewriter(in_place_rewriter(RefreshedInverse, FactorAverage, ShiftedSolve)),
    "fast_run",
    "inplace",
    position=IN_PLACE,
)
