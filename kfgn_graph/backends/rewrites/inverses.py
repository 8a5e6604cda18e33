r"""How the inverses of ``matrices.py`` are computed: rewrites for every function that has them.

Numba and C use POTRI, and give a refreshed inverse the old one's memory. Where an inverse is but
multiplied with it is not made: XLA, which has no POTRI, solves with triangles, and Numba and C,
in large networks, with triangles or their inverses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.math import Dot
from scipy.linalg.blas import get_blas_funcs
from scipy.linalg.lapack import get_lapack_funcs

from kfgn_graph.linalg.averages import FactorAverage
from kfgn_graph.backends.base import InLargeNetworks
from kfgn_graph.backends.rewrites.blas_op import BEFORE_BLAS
from kfgn_graph.linalg.matrices import (
    RefreshedInverse,
    ShiftedInverse,
    cholesky_triangle,
    shifts_to_try,
)
from kfgn_graph.linalg.newton_schulz import IteratedInverses

#: The tag of the rewrite of solves, for ``Mode.including``.
FACTORED_SOLVES = "kfgn_factored_solves"

#: Before a lazy choice hides what its branches hold.
FIRST = 0.1

#: After PyTensor has begun to tell what may be written into.
IN_PLACE = 50.5


class ShiftedSolve(Op):
    """(A + s I)^-1 B of a symmetric A, (d, d), and B, (d, m), or B (A + s I)^-1 of B, (m, d).

    NaN where A + s I is not definite. Where B has fewer than d columns (rows) its two triangular
    systems are solved; else L is inverted, by a third of a cube of operations, since products
    with a triangle run much faster than solves, and still a third is saved of what POTRI takes.

    Parameters
    ----------
    retry : float
        As of :class:`~kfgn_graph.linalg.matrices.ShiftedInverse`.
    left : bool
        Whether the inverse stands before B.
    inplace : bool
        Whether the result takes B's memory.
    """

    __props__ = ("retry", "left", "inplace")

    def __init__(self, retry: float, left: bool, inplace: bool = False) -> None:
        self.retry, self.left, self.inplace = retry, left, inplace
        self.destroy_map = {0: [2]} if inplace else {}

    def make_node(self, A: Variable, shift: Variable, B: Variable) -> Apply:
        """Return the node, whose output has B's type."""
        return Apply(self, [A, shift, B], [B.type()])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return B's shape."""
        return [shapes[2]]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute it by LAPACK and BLAS, to which a row-major matrix is its transpose."""
        A, shift, B = inputs
        X = B if self.inplace and B.flags.c_contiguous else np.array(B, order="C")
        outputs[0][0] = X
        attempts = (cholesky_triangle(A, s) for s in shifts_to_try(shift, self.retry))
        L = next((L for L in attempts if L is not None), None)
        if L is None:
            X[:] = np.nan
        elif X.size:
            self.solve(L, X)

    def solve(self, L: np.ndarray, X: np.ndarray) -> None:
        """Replace X by what L L^T, of which L's lower triangle is read, makes of it inversely."""
        solve, multiply = get_blas_funcs(("trsm", "trmm"), (L,))
        (invert,) = get_lapack_funcs(("trtri",), (L,))
        if X.size >= len(L) ** 2:
            solve = multiply
            invert(L.T, lower=False, overwrite_c=True)
        for transposed in (False, True) if self.left else (True, False):
            solve(1.0, L.T, X.T, side=self.left, trans_a=transposed, overwrite_b=True)


@node_rewriter([ShiftedInverse, RefreshedInverse, FactorAverage])
def numba_rules(fgraph: FunctionGraph, node: Apply) -> None:
    """Let Numba know our Ops wherever one of them is compiled."""
    import kfgn_graph.backends.numba.dispatch  # noqa: F401


@node_rewriter([ShiftedInverse, RefreshedInverse, IteratedInverses, FactorAverage])
def jax_rules(fgraph: FunctionGraph, node: Apply) -> None:
    """Let JAX know our Ops wherever one of them is compiled."""
    import kfgn_graph.backends.jax.dispatch  # noqa: F401


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


optdb.register("kfgn_numba_rules", dfs_rewriter(numba_rules), "numba", position=FIRST)
optdb.register("kfgn_jax_rules", dfs_rewriter(jax_rules), "jax", position=FIRST)
optdb.register("kfgn_solves", dfs_rewriter(factored_product), "jax", position=BEFORE_BLAS)
optdb.register(
    FACTORED_SOLVES, InLargeNetworks(factored_product, ignore_newtrees=True), position=BEFORE_BLAS
)
optdb.register(
    "kfgn_inverses_in_place", dfs_rewriter(in_place), "fast_run", "inplace", position=IN_PLACE
)
