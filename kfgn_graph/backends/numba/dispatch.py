"""Numba implementations of the package's Ops, which call SciPy's BLAS and LAPACK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from numba import types
from numba.core.extending import get_cython_function_address
from pytensor.graph.basic import Apply
from pytensor.link.numba.dispatch.basic import (
    numba_njit,
    register_funcify_default_op_cache_key,
)
from pytensor.link.numba.dispatch.scalar import register_scalar_funcify, scalar_op_cache_key

from kfgn_graph.backends.rewrites.blas_op import BLAS_PREFIXES
from kfgn_graph.backends.rewrites.fast_activations import NegativePowerOfTwo
from kfgn_graph.backends.rewrites.materialise import Materialise
from kfgn_graph.backends.rewrites.syrk import Syrk
from kfgn_graph.linalg.averages import FactorAverage
from kfgn_graph.linalg.matrices import RefreshedInverse, ShiftedInverse

#: Version of the code below; part of the key under which Numba caches compiled code.
VERSION = 2

#: Size of the blocks that are mirrored.
BLOCK = 32

#: BLAS's type of integer arguments, which are passed by address.
INTEGER = types.CPointer(types.int32)


def scipy_routine(module: str, name: str, *arguments: types.Type) -> types.ExternalFunction:
    """Return a BLAS or LAPACK routine of SciPy, under a symbol that cached code can resolve."""
    symbol = f"kfgn_{name}"
    address = get_cython_function_address(f"scipy.linalg.cython_{module}", name)
    llvmlite.binding.add_symbol(symbol, address)
    return types.ExternalFunction(symbol, types.void(*arguments))


def syrk_routine(letter: str, number: types.Type) -> types.ExternalFunction:
    """Return SYRK(uplo, trans, n, k, alpha, A, lda, beta, C, ldc)."""
    arguments = [*[INTEGER] * 4, number, number, INTEGER, number, number, INTEGER]
    return scipy_routine("blas", f"{letter}syrk", *arguments)


def triangle_routine(name: str, number: types.Type) -> types.ExternalFunction:
    """Return POTRF or POTRI(uplo, n, A, lda, info)."""
    return scipy_routine("lapack", name, INTEGER, INTEGER, number, INTEGER, INTEGER)


POINTERS = {dtype: types.CPointer(getattr(types, dtype)) for dtype in BLAS_PREFIXES}
SYRK = {d: syrk_routine(letter, POINTERS[d]) for d, letter in BLAS_PREFIXES.items()}
POTRF, POTRI = (
    {d: triangle_routine(letter + name, POINTERS[d]) for d, letter in BLAS_PREFIXES.items()}
    for name in ("potrf", "potri")
)


@numba_njit
def mirror(triangle: Any, into: Any) -> None:
    """Write the symmetric matrix with this lower triangle to ``into``, which may be the same."""
    d = triangle.shape[0]
    for p in range(0, d, BLOCK):
        for q in range(0, p + 1, BLOCK):
            for i in range(p, min(p + BLOCK, d)):
                for j in range(q, min(q + BLOCK, i + 1)):
                    into[i, j] = triangle[i, j]
                    into[j, i] = triangle[i, j]


@register_scalar_funcify(NegativePowerOfTwo)
def numba_funcify_negative_power_of_two(
    op: NegativePowerOfTwo, node: Apply, **kwargs: Any
) -> tuple[Callable[..., Any], str]:
    """Return a function that reinterprets the bits of an integer as a float32."""

    @numba_njit
    def negative_power_of_two(k: Any) -> Any:
        return np.int32((127 - k) << 23).view(np.float32)

    return negative_power_of_two, scalar_op_cache_key(op, version=VERSION)


@register_funcify_default_op_cache_key(Syrk)
def numba_funcify_syrk(op: Syrk, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    """Return a call of SYRK; X is copied only if no axis is contiguous."""
    dtype = node.inputs[0].type.numpy_dtype
    routine = SYRK[node.inputs[0].type.dtype]

    @numba_njit
    def syrk(x: Any) -> Any:
        n, d = x.shape
        z = np.empty((d, d), dtype)
        if n == 0 or d == 0:
            z[:] = 0
            return z
        size = x.itemsize
        rows, columns = x.strides
        by_rows = (columns == size or d == 1) and rows % size == 0 and rows >= d * size
        by_columns = (rows == size or n == 1) and columns % size == 0 and columns >= n * size
        kept = x if by_rows or by_columns else x.copy()
        transposed = by_columns and not by_rows
        lead = kept.strides[1] // size if transposed else kept.strides[0] // size
        # BLAS is column-major: a row-major X is X^T there
        routine(
            np.array([ord("U")], np.int32).ctypes,
            np.array([ord("T") if transposed else ord("N")], np.int32).ctypes,
            np.array([d], np.int32).ctypes,
            np.array([n], np.int32).ctypes,
            np.array([1], dtype).ctypes,
            kept.ctypes,
            np.array([lead], np.int32).ctypes,
            np.array([0], dtype).ctypes,
            z.ctypes,
            np.array([d], np.int32).ctypes,
        )
        mirror(z, z)
        return z

    return syrk, VERSION


def inverse_triangle_routine(dtype: str, retry: float) -> Callable[..., Any]:
    """Return a function that writes the lower triangle of (A + s I)^-1 to z.

    It returns whether the result is finite. If not, it has tried ``retry * s`` as well, unless
    ``retry`` is 0.
    """
    potrf, potri, number = POTRF[dtype], POTRI[dtype], np.dtype(dtype).type
    growths = (number(1), number(retry)) if retry else (number(1),)

    @numba_njit
    def inverse_triangle(A: Any, shift: Any, z: Any) -> Any:
        d = A.shape[0]
        # LAPACK is column-major: a row-major lower triangle is an upper one there
        upper = np.array([ord("U")], np.int32)
        order, lead = np.array([d], np.int32), np.array([max(d, 1)], np.int32)
        failed = np.zeros(1, np.int32)
        for growth in growths:
            for i in range(d):
                for j in range(i + 1):
                    z[i, j] = A[i, j]
                z[i, i] += growth * shift.item()
            potrf(upper.ctypes, order.ctypes, z.ctypes, lead.ctypes, failed.ctypes)
            if failed[0] == 0:
                potri(upper.ctypes, order.ctypes, z.ctypes, lead.ctypes, failed.ctypes)
            finite = failed[0] == 0
            for i in range(d):
                # the entries of a positive definite matrix are bounded by its diagonal
                finite = finite and np.isfinite(z[i, i])
            if finite:
                return True
        return False

    return inverse_triangle


@register_funcify_default_op_cache_key(ShiftedInverse)
def numba_funcify_inverse(
    op: ShiftedInverse, node: Apply, **kwargs: Any
) -> tuple[Callable[..., Any], int]:
    """Return a function that inverts; NaN if that fails."""
    inverse_triangle = inverse_triangle_routine(node.inputs[0].type.dtype, op.retry)

    @numba_njit
    def shifted_inverse(A: Any, shift: Any) -> Any:
        z = np.empty(A.shape, A.dtype)
        if not inverse_triangle(A, shift, z):
            z[:] = np.nan
        mirror(z, z)
        return z

    return shifted_inverse, VERSION


@register_funcify_default_op_cache_key(RefreshedInverse)
def numba_funcify_refreshed(
    op: RefreshedInverse, node: Apply, **kwargs: Any
) -> tuple[Callable[..., Any], int]:
    """Return a function that inverts if it is due."""
    inverse_triangle = inverse_triangle_routine(node.inputs[0].type.dtype, op.retry)
    inplace = op.inplace

    @numba_njit
    def refreshed_inverse(old: Any, A: Any, shift: Any, due: Any) -> Any:
        kept = old if inplace else old.copy()
        if not due.item():
            return kept, np.array(True)
        z = np.empty(A.shape, A.dtype)
        finite = inverse_triangle(A, shift, z)
        if finite:
            mirror(z, kept)
        return kept, np.array(finite)

    return refreshed_inverse, VERSION


@register_funcify_default_op_cache_key(FactorAverage)
def numba_funcify_average(
    op: FactorAverage, node: Apply, **kwargs: Any
) -> tuple[Callable[..., Any], int]:
    """Return a function that averages."""
    inplace, one = op.inplace, node.inputs[2].type.numpy_dtype.type(1)

    @numba_njit
    def factor_average(old: Any, new: Any, weight: Any, sound: Any) -> Any:
        d = old.shape[0]
        finite = bool(sound.item())
        for i in range(d):
            finite = finite and np.isfinite(new[i, i])
        if not finite:
            return (old if inplace else old.copy()), np.array(False)
        average = old if inplace else np.empty(old.shape, old.dtype)
        kept, added = weight.item(), one - weight.item()
        for i in range(d):
            for j in range(d):
                average[i, j] = kept * old[i, j] + added * new[i, j]
        return average, np.array(True)

    return factor_average, VERSION


@register_funcify_default_op_cache_key(Materialise)
def numba_funcify_materialise(
    op: Materialise, node: Apply, **kwargs: Any
) -> tuple[Callable[..., Any], int]:
    """Return a function that copies."""

    @numba_njit
    def materialise(x: Any) -> Any:
        return x.copy()

    return materialise, VERSION
