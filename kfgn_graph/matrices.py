r"""Matrices by Ops of our own: the identity, and the inverse of a damped factor.

:math:`(A + s I)^{-1}` is computed by LAPACK's POTRF and POTRI, which take a cube of the width in
operations where a triangular solve with the identity and a product take 2 1/3. XLA has no POTRI:
there, and in PyTensor's own Numba mode, the Op is lowered to a Cholesky decomposition and solves,
after the rewrites that search the whole graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.basic import Eye
from pytensor.tensor.math import Dot
from pytensor.tensor.variable import TensorVariable
from scipy.linalg.lapack import get_lapack_funcs

#: The lowering's name, for ``Mode.excluding``.
LOWERED_INVERSES = "kfgn_lowered_inverses"

#: After lazy choices have become branches, which are rewritten one by one.
AFTER_BRANCHES = 49.0

#: Rows and columns that the mirror copies at a time.
BLOCK = 128


class Identity(Eye):
    """An identity that PyTensor does not fold into a constant.

    Folded it is an array of d^2 numbers in the compiled program, where it takes memory, is
    compiled, and keeps Numba from caching the program on disk.
    """

    def do_constant_folding(self, fgraph: FunctionGraph, node: Apply) -> bool:
        """Never fold it."""
        return False


def identity(size: Any, dtype: str) -> TensorVariable:
    """Return the identity, of shape (size, size)."""
    return pt.as_tensor(Identity(dtype)(size, size, 0))


def identity_like(M: TensorVariable) -> TensorVariable:
    """Return the identity of a square matrix's size."""
    size = M.type.shape[0]
    return identity(M.shape[0] if size is None else size, M.type.dtype)


class ShiftedInverse(Op):
    """(A + s I)^-1 of a symmetric A, (d, d), and a scalar s; NaN where it is not definite.

    Of A the lower triangle alone is read.
    """

    __props__ = ()

    def make_node(self, A: Variable, shift: Variable) -> Apply:
        """Return the node, whose output has A's type."""
        return Apply(self, [A, shift], [A.type()])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return (d, d)."""
        return [shapes[0]]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Any
    ) -> list[Variable]:
        """Return what a cotangent C of X = (A + s I)^-1 becomes: -X C X, and its trace."""
        (X,), (C,) = outputs, cotangents
        pulled = -(X @ C @ X)
        return [pulled, pt.trace(pulled)]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute one triangle in the result's own memory, and mirror it."""
        A, shift = inputs
        inverse = np.array(A, order="C")
        inverse.flat[:: len(inverse) + 1] += shift
        potrf, potri = get_lapack_funcs(("potrf", "potri"), (inverse,))
        # LAPACK counts columns first: to it a row-major lower triangle is an upper one
        factor, failed = potrf(inverse.T, lower=False, clean=False, overwrite_a=True)
        if not failed:
            _, failed = potri(factor, lower=False, overwrite_c=True)
        if failed:
            inverse[:] = np.nan
        mirror(inverse)
        outputs[0][0] = inverse


def mirror(z: np.ndarray) -> None:
    """Copy the lower triangle of a square matrix to the upper one."""
    for p in range(0, len(z), BLOCK):
        rows = slice(p, p + BLOCK)
        z[rows, p + BLOCK :] = z[p + BLOCK :, rows].T
        z[rows, rows] = np.tril(z[rows, rows]) + np.tril(z[rows, rows], -1).T


shifted_inverse = ShiftedInverse()


@node_rewriter([ShiftedInverse])
def lowered_inverse(
    fgraph: FunctionGraph, node: Apply
) -> list[Variable] | dict[Variable, Variable]:
    r"""Compute with :math:`A + s I = L L^T` what the inverse is for.

    Where it is but multiplied with, two triangular solves take the place of each product; else it
    is :math:`L^{-T} L^{-1}`, one triangular solve and a product, which a second solve would take
    longer than.
    """
    A, shift = node.inputs
    unit = identity_like(A)
    L = pt.linalg.cholesky(A + shift * unit, lower=True)
    products = products_with(fgraph, node.out)
    if products:
        return {product.out: solved(L, node.out, product) for product in products}
    inverse = pt.linalg.solve_triangular(L, unit, lower=True, check_finite=False)
    return [pt.specify_shape(inverse.T @ inverse, A.type.shape)]


def products_with(fgraph: FunctionGraph, M: Variable) -> list[Apply]:
    """Return the products that a matrix is for; none where it is for anything else."""
    users = [client for client, _ in fgraph.clients[M]]
    alone = all(isinstance(u.op, Dot) and u.inputs.count(M) == 1 for u in users)
    return users if alone else []


def solved(L: TensorVariable, inverse: Variable, product: Apply) -> TensorVariable:
    r"""Return a product with the inverse of :math:`L L^T` as two triangular solves."""
    left, right = product.inputs
    b = right if left is inverse else left.T
    x = pt.linalg.cho_solve((L, True), b, b_ndim=b.type.ndim, check_finite=False)
    return pt.specify_shape(x if left is inverse else x.T, product.out.type.shape)


optdb.register(
    LOWERED_INVERSES, dfs_rewriter(lowered_inverse), "jax", "numba", position=AFTER_BRANCHES
)
