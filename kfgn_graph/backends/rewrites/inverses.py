r"""How the inverses of ``matrices.py`` are computed: rewrites for every function that has them.

Numba and C use POTRI, and give a refreshed inverse the old one's memory. Where an inverse is but
multiplied with it is not made: XLA, which has no POTRI, solves with triangles, and Numba and C,
in large networks, with triangles or their inverses.
"""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.math import Dot

from kfgn_graph.backends.rewrites.blas_op import BEFORE_BLAS
from kfgn_graph.backends.rewrites.network_size import InLargeNetworks
from kfgn_graph.linalg.averages import FactorAverage
from kfgn_graph.linalg.matrices import (
    RefreshedInverse,
    ShiftedInverse,
)
from kfgn_graph.linalg.shifted_solve import ShiftedSolve

#: The tag of the rewrite of solves, for ``Mode.including``.
FACTORED_SOLVES = "kfgn_factored_solves"


#: After PyTensor has begun to tell what may be written into.
IN_PLACE = 50.5


@node_rewriter([ShiftedInverse])
def factored_product(fgraph: FunctionGraph, node: Apply) -> dict[Variable, Variable] | None:
    """Solve where the inverse is but multiplied with, and once."""
    users = fgraph.clients[node.out]
    if len(users) != 1:
        return None
    ((user, place),) = users
    if not isinstance(user.op, Dot) or user.inputs[1 - place].type.ndim != 2:
        return None
    solve = ShiftedSolve(node.op.retry, left=place == 0)
    return {user.out: solve(*node.inputs, user.inputs[1 - place])}


@node_rewriter([RefreshedInverse, FactorAverage, ShiftedSolve])
def in_place(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Give a refreshed inverse, a new average and a solution the memory of what they replace."""
    if node.op.inplace:
        return None
    properties = {name: getattr(node.op, name) for name in node.op.__props__}
    return type(node.op)(**properties | {"inplace": True})(*node.inputs, return_list=True)


optdb.register("kfgn_solves", dfs_rewriter(factored_product), "jax", position=BEFORE_BLAS)


optdb.register(
    FACTORED_SOLVES, InLargeNetworks(factored_product, ignore_newtrees=True), position=BEFORE_BLAS
)


optdb.register(
    "kfgn_inverses_in_place", dfs_rewriter(in_place), "fast_run", "inplace", position=IN_PLACE
)
