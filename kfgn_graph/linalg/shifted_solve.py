"""Solves with a damped symmetric matrix, without its inverse."""

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
