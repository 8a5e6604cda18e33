r"""How the inverses of ``matrices.py`` are computed: rewrites for every function that has them.

Numba and C use POTRI, and give a refreshed inverse the old one's memory. XLA has no POTRI: where
an inverse is but multiplied with, the products become triangular solves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.math import Dot
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.averaging import FactorAverage
from kfgn_graph.matrices import RefreshedInverse, ShiftedInverse, shifts_to_try

#: Before a lazy choice hides what its branches hold.
FIRST = 0.1

#: After lazy choices have become branches, which are rewritten one by one.
AFTER_BRANCHES = 49.0

#: After PyTensor has begun to tell what may be written into.
IN_PLACE = 50.5


class ShiftedCholesky(Op):
    """The lower Cholesky factor of A + s I, (d, d); NaN where it is not definite.

    Parameters
    ----------
    retry : float
        As of :class:`~kfgn_graph.matrices.ShiftedInverse`.
    """

    __props__ = ("retry",)

    def __init__(self, retry: float) -> None:
        self.retry = retry

    def make_node(self, A: Variable, shift: Variable) -> Apply:
        """Return the node, whose output has A's type."""
        return Apply(self, [A, shift], [A.type()])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return (d, d)."""
        return [shapes[0]]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute it with NumPy."""
        A, shift = inputs
        outputs[0][0] = np.full_like(A, np.nan)
        for s in shifts_to_try(shift, self.retry):
            try:
                outputs[0][0] = np.linalg.cholesky(A + s * np.eye(len(A), dtype=A.dtype))
                return
            except np.linalg.LinAlgError:
                continue


@node_rewriter([ShiftedInverse, RefreshedInverse, FactorAverage])
def numba_rules(fgraph: FunctionGraph, node: Apply) -> None:
    """Let Numba know our Ops wherever one of them is compiled."""
    import kfgn_graph.backends.numba_rules  # noqa: F401


@node_rewriter([ShiftedInverse, RefreshedInverse, FactorAverage])
def jax_rules(fgraph: FunctionGraph, node: Apply) -> None:
    """Let JAX know our Ops wherever one of them is compiled."""
    import kfgn_graph.backends.jax_rules  # noqa: F401


@node_rewriter([ShiftedInverse])
def solved_products(fgraph: FunctionGraph, node: Apply) -> dict[Variable, Variable] | None:
    r"""Solve with :math:`A + s I = L L^T` where the inverse is but multiplied with."""
    users = [client for client, _ in fgraph.clients[node.out]]
    if not all(isinstance(u.op, Dot) and u.inputs.count(node.out) == 1 for u in users):
        return None
    L = ShiftedCholesky(node.op.retry)(*node.inputs)
    return {product.out: solved(L, node.out, product) for product in users}


def solved(L: TensorVariable, inverse: Variable, product: Apply) -> TensorVariable:
    r"""Return a product with the inverse of :math:`L L^T` as two triangular solves."""
    left, right = product.inputs
    b = right if left is inverse else left.T
    x = pt.linalg.cho_solve((L, True), b, b_ndim=b.type.ndim, check_finite=False)
    return pt.specify_shape(x if left is inverse else x.T, product.out.type.shape)


@node_rewriter([RefreshedInverse, FactorAverage])
def in_place(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Give a refreshed inverse and a new average the old one's memory."""
    if node.op.inplace:
        return None
    properties = {name: getattr(node.op, name) for name in node.op.__props__}
    return type(node.op)(**properties | {"inplace": True})(*node.inputs, return_list=True)


optdb.register("kfgn_numba_rules", dfs_rewriter(numba_rules), "numba", position=FIRST)
optdb.register("kfgn_jax_rules", dfs_rewriter(jax_rules), "jax", position=FIRST)
optdb.register(
    "kfgn_solved_products", dfs_rewriter(solved_products), "jax", position=AFTER_BRANCHES
)
optdb.register(
    "kfgn_inverses_in_place", dfs_rewriter(in_place), "fast_run", "inplace", position=IN_PLACE
)
