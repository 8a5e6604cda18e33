r"""Matrices: the identity, diagonal ones, and the inverse of a damped factor.

:math:`(A + s I)^{-1}` is computed by LAPACK's POTRF and POTRI, which take a cube of the width in
operations where a triangular solve with the identity and a product take 2 1/3. How a backend
computes it is the backend's affair (``backends/inverses.py``).
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

#: Rows and columns that are mirrored at a time.
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


def diagonal(d: TensorVariable) -> TensorVariable:
    """Return diag(d): (d,) to (d, d), declared diagonal."""
    return declared_diagonal(d[:, None] * identity(d.shape[0], d.type.dtype))


def declared_diagonal(A: TensorVariable) -> TensorVariable:
    """Return A, (d, d), which is known to be diagonal: PyTensor then scales where A multiplies."""
    return DIAGONAL.assume(A)


def is_diagonal(A: TensorVariable) -> bool:
    """Return whether A itself is declared diagonal."""
    op = A.owner.op if A.owner is not None else None
    return isinstance(op, SpecifyAssumptions) and (DIAGONAL, FactState.TRUE) in op.assumptions


class ShiftedInverse(Op):
    """(A + s I)^-1 of a symmetric A, (d, d), and a scalar s; NaN where it is not definite.

    Of A the lower triangle alone is read.

    Parameters
    ----------
    retry : float
        What s is multiplied with for a second attempt where the first fails; 0 for none.
    """

    __props__: tuple[str, ...] = ("retry",)

    def __init__(self, retry: float = 0.0) -> None:
        self.retry = retry

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
        if self.retry:
            reason = "which attempt succeeds is not differentiable"
            return [grad_not_implemented(self, i, v, reason) for i, v in enumerate(inputs)]
        (X,), (C,) = outputs, cotangents
        pulled = -(X @ C @ X)
        return [pulled, pt.trace(pulled)]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute one triangle in the result's own memory, and mirror it."""
        A, shift = inputs
        inverse = inverse_triangle(A, shift, self.retry)
        if inverse is None:
            inverse = np.full_like(A, np.nan, order="C")
        mirror(inverse, inverse)
        outputs[0][0] = inverse


class RefreshedInverse(Op):
    """The same where it is due and can be computed, else the old one, (d, d).

    Its second output is whether it was not due or could be computed.

    Parameters
    ----------
    retry : float
        As of :class:`ShiftedInverse`.
    inplace : bool
        Whether the new one takes the old one's memory.
    """

    __props__ = ("retry", "inplace")

    def __init__(self, retry: float = 0.0, inplace: bool = False) -> None:
        self.retry, self.inplace = retry, inplace
        self.destroy_map = {0: [0]} if inplace else {}

    def make_node(self, old: Variable, A: Variable, shift: Variable, due: Variable) -> Apply:
        """Return the node."""
        return Apply(self, [old, A, shift, due], [old.type(), due.type()])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return (d, d), and that of a scalar."""
        return [shapes[0], ()]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute one triangle apart, and mirror it into the result only if it is finite."""
        old, A, shift, due = inputs
        kept = old if self.inplace else old.copy()
        fresh = inverse_triangle(A, shift, self.retry) if due else None
        if fresh is not None:
            mirror(fresh, kept)
        outputs[0][0] = kept
        outputs[1][0] = np.asarray(not due or fresh is not None)


def shifts_to_try(shift: np.ndarray, retry: float) -> list[np.ndarray]:
    """Return s of the first attempt, and of the second where there is one."""
    return [shift, retry * shift] if retry else [shift]


def inverse_triangle(A: np.ndarray, shift: np.ndarray, retry: float) -> np.ndarray | None:
    """Return an array whose lower triangle is that of (A + s I)^-1, or None where it has none."""
    (potri,) = get_lapack_funcs(("potri",), (A,))
    for s in shifts_to_try(shift, retry):
        inverse = cholesky_triangle(A, s)
        if inverse is None:
            continue
        _, failed = potri(inverse.T, lower=False, overwrite_c=True)
        # the diagonal bounds the rest of what is positive definite
        if not failed and np.isfinite(inverse.diagonal()).all():
            return inverse
    return None


def cholesky_triangle(A: np.ndarray, shift: np.ndarray) -> np.ndarray | None:
    """Return an array whose lower triangle is L with A + s I = L L^T, or None where it has none.

    LAPACK counts columns first: to it a row-major lower triangle is an upper one.
    """
    (potrf,) = get_lapack_funcs(("potrf",), (A,))
    factor = np.array(A, order="C")
    diagonal = factor.reshape(-1)[:: len(factor) + 1]
    diagonal += shift
    _, failed = potrf(factor.T, lower=False, clean=False, overwrite_a=True)
    return factor if not failed and np.isfinite(diagonal).all() else None


def mirror(triangle: np.ndarray, into: np.ndarray) -> None:
    """Make a matrix the symmetric one whose lower triangle is given, perhaps by itself."""
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
    """Return what :class:`ShiftedInverse` does of a diagonal A, (d, d), entry by entry."""
    d = pt.diagonal(A)
    shifted = d + shift
    if retry:
        again = d + np.asarray(retry, d.type.dtype) * shift
        shifted = pt.switch(pt.all(shifted > 0), shifted, again)
    nan = np.asarray(np.nan, d.type.dtype)
    return diagonal(pt.switch(pt.all(shifted > 0), 1 / shifted, nan))
