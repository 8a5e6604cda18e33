r"""Structured matrices: the identity, diagonal matrices, and inverses of shifted matrices.

:math:`(A + s I)^{-1}` is computed by LAPACK's POTRF and POTRI, which take :math:`d^3` operations
together. POTRF, a triangular solve with the identity and a product would take :math:`7 d^3 / 3`.
Backends may replace this implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.assumptions import DIAGONAL, FactState
from pytensor.assumptions.specify import SpecifyAssumptions
from pytensor.gradient import grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.tensor.basic import Eye
from pytensor.tensor.variable import TensorVariable
from scipy.linalg.lapack import get_lapack_funcs

#: Rows and columns that :func:`mirror` copies at a time.
BLOCK = 128


class Identity(Eye):
    """An identity matrix that PyTensor does not fold into a constant.

    A folded identity is an array of d^2 numbers in the compiled program. It takes memory, slows
    compilation down and prevents Numba from caching the program on disk.
    """

    def do_constant_folding(self, fgraph: FunctionGraph, node: Apply) -> bool:
        """Return False."""
        return False


def identity(size: Any, dtype: str) -> TensorVariable:
    """Return the identity matrix, of shape (size, size)."""
    return pt.as_tensor(Identity(dtype)(size, size, 0))


def identity_like(M: TensorVariable) -> TensorVariable:
    """Return the identity matrix of the size and dtype of a square matrix."""
    size = M.type.shape[0]
    return identity(M.shape[0] if size is None else size, M.type.dtype)


def diagonal(d: TensorVariable) -> TensorVariable:
    """Return diag(d), of shape (n, n) for d of shape (n,), declared diagonal to PyTensor."""
    return declared_diagonal(d[:, None] * identity(d.shape[0], d.type.dtype))


def declared_diagonal(A: TensorVariable) -> TensorVariable:
    """Declare A, (d, d), diagonal to PyTensor, which then turns products with A into scalings."""
    return DIAGONAL.assume(A)


def is_diagonal(A: TensorVariable) -> bool:
    """Return whether A is declared diagonal by its own node."""
    op = A.owner.op if A.owner is not None else None
    return isinstance(op, SpecifyAssumptions) and (DIAGONAL, FactState.TRUE) in op.assumptions


def scaled_product(A: TensorVariable, B: TensorVariable) -> TensorVariable:
    """Return A B, (n, d) times (d, d): A with scaled columns where B is declared diagonal."""
    return A * pt.diagonal(B)[None, :] if is_diagonal(B) else A @ B


class ShiftedInverse(Op):
    """The inverse (A + s I)^-1 for a symmetric A, (d, d), and a scalar s.

    The result is NaN if A + s I is not positive definite. Only the lower triangle of A is read.

    Parameters
    ----------
    retry : float
        The factor that multiplies s in a second attempt if the first one fails; 0 for no second
        attempt.
    """

    __props__: tuple[str, ...] = ("retry",)

    def __init__(self, retry: float = 0.0) -> None:
        self.retry = retry

    def make_node(self, A: Variable, shift: Variable) -> Apply:
        """Return the node, whose output has the type of A."""
        return Apply(self, [A, shift], [A.type()])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return the shape (d, d)."""
        return [shapes[0]]

    def pullback(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], cotangents: Any
    ) -> list[Variable]:
        """Return the cotangents -X C X of A and tr(-X C X) of s, for C of X = (A + s I)^-1."""
        if self.retry:
            reason = "which attempt succeeds is not differentiable"
            return [grad_not_implemented(self, i, v, reason) for i, v in enumerate(inputs)]
        (X,), (C,) = outputs, cotangents
        pulled = -(X @ C @ X)
        return [pulled, pt.trace(pulled)]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute one triangle in the output buffer and mirror it in place."""
        A, shift = inputs
        inverse = inverse_triangle(A, shift, self.retry)
        if inverse is None:
            inverse = np.full_like(A, np.nan, order="C")
        mirror(inverse, inverse)
        outputs[0][0] = inverse


class RefreshedInverse(Op):
    """The inverse of :class:`ShiftedInverse`, recomputed if a refresh is due.

    The inputs are the old inverse, (d, d), the matrix A, the shift s and the flag ``due``. The
    first output is the new inverse, or the old one if no refresh is due or if A + s I is not
    positive definite. The second output is false in this last case only.

    Parameters
    ----------
    retry : float
        As in :class:`ShiftedInverse`.
    inplace : bool
        Whether the result overwrites the old inverse.
    """

    __props__ = ("retry", "inplace")

    def __init__(self, retry: float = 0.0, inplace: bool = False) -> None:
        self.retry, self.inplace = retry, inplace
        self.destroy_map = {0: [0]} if inplace else {}

    def make_node(self, old: Variable, A: Variable, shift: Variable, due: Variable) -> Apply:
        """Return the node."""
        return Apply(self, [old, A, shift, due], [old.type(), due.type()])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return the shapes (d, d) and ()."""
        return [shapes[0], ()]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute one triangle in a workspace, and mirror it into the output if it is finite."""
        old, A, shift, due = inputs
        kept = old if self.inplace else old.copy()
        fresh = inverse_triangle(A, shift, self.retry) if due else None
        if fresh is not None:
            mirror(fresh, kept)
        outputs[0][0] = kept
        outputs[1][0] = np.asarray(not due or fresh is not None)


def shifts_to_try(shift: np.ndarray, retry: float) -> list[np.ndarray]:
    """Return the shifts of the first and, if there is one, of the second attempt."""
    return [shift, retry * shift] if retry else [shift]


def inverse_triangle(A: np.ndarray, shift: np.ndarray, retry: float) -> np.ndarray | None:
    """Return an array with the lower triangle of (A + s I)^-1, or None if every attempt fails."""
    (potri,) = get_lapack_funcs(("potri",), (A,))
    for s in shifts_to_try(shift, retry):
        inverse = cholesky_triangle(A, s)
        if inverse is None:
            continue
        _, failed = potri(inverse.T, lower=False, overwrite_c=True)
        # the diagonal of a positive definite matrix bounds all of its entries
        if not failed and np.isfinite(inverse.diagonal()).all():
            return inverse
    return None


def cholesky_triangle(A: np.ndarray, shift: np.ndarray) -> np.ndarray | None:
    """Return an array with the lower triangle L of A + s I = L L^T, or None if POTRF fails.

    LAPACK is column-major, so that it sees a row-major lower triangle as an upper triangle.
    """
    (potrf,) = get_lapack_funcs(("potrf",), (A,))
    factor = np.array(A, order="C")
    diagonal = factor.reshape(-1)[:: len(factor) + 1]
    diagonal += shift
    _, failed = potrf(factor.T, lower=False, clean=False, overwrite_a=True)
    return factor if not failed and np.isfinite(diagonal).all() else None


def mirror(triangle: np.ndarray, into: np.ndarray) -> None:
    """Write the symmetric matrix with a given lower triangle; the two arrays may be the same."""
    for p in range(0, len(triangle), BLOCK):
        rows = slice(p, p + BLOCK)
        left, corner = triangle[rows, :p], np.tril(triangle[rows, rows])
        into[rows, :p] = left
        into[:p, rows] = left.T
        into[rows, rows] = corner + np.tril(corner, -1).T


shifted_inverse = ShiftedInverse()


def shifted_diagonal_inverse(
    A: TensorVariable, shift: TensorVariable, retry: float = 0.0
) -> TensorVariable:
    """Return :class:`ShiftedInverse` of a diagonal A, (d, d), computed entry by entry."""
    d = pt.diagonal(A)
    shifted = d + shift
    if retry:
        again = d + np.asarray(retry, d.type.dtype) * shift
        shifted = pt.switch(pt.all(shifted > 0), shifted, again)
    nan = np.asarray(np.nan, d.type.dtype)
    return diagonal(pt.switch(pt.all(shifted > 0), 1 / shifted, nan))
