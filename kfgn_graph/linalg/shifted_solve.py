"""Solves with a shifted symmetric matrix, without forming its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from scipy.linalg.blas import get_blas_funcs
from scipy.linalg.lapack import get_lapack_funcs

from kfgn_graph.linalg.matrices import (
    cholesky_triangle,
    shifts_to_try,
)


class ShiftedSolve(Op):
    """The product (A + s I)^-1 B for a symmetric A, (d, d), a scalar s and B, (d, m).

    With ``left=False`` it is B (A + s I)^-1 for B, (m, d). The result is NaN if A + s I is not
    positive definite. The Cholesky factor L is used in one of two ways. If m < d, TRSM solves two
    triangular systems. Otherwise TRTRI inverts L, in d^3 / 3 operations, and TRMM multiplies by
    the inverse twice: TRMM is much faster than TRSM, and the full inverse of A + s I would take
    another d^3 / 3 operations.

    Parameters
    ----------
    retry : float
        As in :class:`~kfgn_graph.linalg.matrices.ShiftedInverse`.
    left : bool
        Whether the inverse multiplies B from the left.
    inplace : bool
        Whether the result overwrites B.
    """

    __props__ = ("retry", "left", "inplace")

    def __init__(self, retry: float, left: bool, inplace: bool = False) -> None:
        self.retry, self.left, self.inplace = retry, left, inplace
        self.destroy_map = {0: [2]} if inplace else {}

    def make_node(self, A: Variable, shift: Variable, B: Variable) -> Apply:
        """Return the node, whose output has the type of B."""
        return Apply(self, [A, shift, B], [B.type()])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return the shape of B."""
        return [shapes[2]]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute the product by LAPACK and BLAS, which see row-major matrices as transposed."""
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
        """Overwrite X by (L L^T)^-1 X, or by X (L L^T)^-1; only L's lower triangle is read."""
        solve, multiply = get_blas_funcs(("trsm", "trmm"), (L,))
        (invert,) = get_lapack_funcs(("trtri",), (L,))
        if X.size >= len(L) ** 2:
            solve = multiply
            invert(L.T, lower=False, overwrite_c=True)
        for transposed in (False, True) if self.left else (True, False):
            solve(1.0, L.T, X.T, side=self.left, trans_a=transposed, overwrite_b=True)
