"""Numba's rules for Ops of ours, by SciPy's BLAS and LAPACK; imported where Numba compiles."""

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

from kfgn_graph.backends.blas import BLAS_LETTERS
from kfgn_graph.backends.elementary import Halved
from kfgn_graph.backends.symmetric import Syrk
from kfgn_graph.matrices import ShiftedInverse

#: Of the code below, a part of the key of compiled code on disk.
VERSION = 1

#: Rows and columns that the mirror copies at a time.
BLOCK = 32

#: How BLAS takes whole numbers: by address.
INTEGER = types.CPointer(types.int32)


def scipy_routine(module: str, name: str, *arguments: types.Type) -> types.ExternalFunction:
    """Return a routine of SciPy's under a name of its own, by which cached code finds it again."""
    symbol = f"kfgn_{name}"
    address = get_cython_function_address(f"scipy.linalg.cython_{module}", name)
    llvmlite.binding.add_symbol(symbol, address)
    return types.ExternalFunction(symbol, types.void(*arguments))


def syrk_routine(letter: str, number: types.Type) -> types.ExternalFunction:
    """Return SYRK: uplo, trans; n, k; alpha, A, lda; beta, C, ldc."""
    arguments = [*[INTEGER] * 4, number, number, INTEGER, number, number, INTEGER]
    return scipy_routine("blas", f"{letter}syrk", *arguments)


def triangle_routine(name: str, number: types.Type) -> types.ExternalFunction:
    """Return POTRF or POTRI: uplo, n; A, lda; info."""
    return scipy_routine("lapack", name, INTEGER, INTEGER, number, INTEGER, INTEGER)


POINTERS = {dtype: types.CPointer(getattr(types, dtype)) for dtype in BLAS_LETTERS}
SYRK = {d: syrk_routine(letter, POINTERS[d]) for d, letter in BLAS_LETTERS.items()}
POTRF, POTRI = (
    {d: triangle_routine(letter + name, POINTERS[d]) for d, letter in BLAS_LETTERS.items()}
    for name in ("potrf", "potri")
)


@numba_njit
def mirror(z: Any) -> None:
    """Copy the lower triangle of a square matrix to the upper one."""
    d = z.shape[0]
    for p in range(0, d, BLOCK):
        for q in range(0, p + 1, BLOCK):
            for i in range(p, min(p + BLOCK, d)):
                for j in range(q, min(q + BLOCK, i)):
                    z[j, i] = z[i, j]


@register_scalar_funcify(Halved)
def numba_funcify_halved(op: Halved, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], str]:
    """Return Numba's way to see whole numbers as float32."""

    @numba_njit
    def halved(k: Any) -> Any:
        return np.int32((127 - k) << 23).view(np.float32)

    return halved, scalar_op_cache_key(op, version=VERSION)


@register_funcify_default_op_cache_key(Syrk)
def numba_funcify_syrk(op: Syrk, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    """Return the call of SYRK, for rows or columns that are contiguous without a copy."""
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
        # BLAS counts columns first: to it a row-major X is its transpose
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
        mirror(z)
        return z

    return syrk, VERSION


@register_funcify_default_op_cache_key(ShiftedInverse)
def numba_funcify_inverse(
    op: ShiftedInverse, node: Apply, **kwargs: Any
) -> tuple[Callable[..., Any], int]:
    """Return the calls of POTRF and POTRI on a copy, of which they use one triangle."""
    potrf, potri = POTRF[node.inputs[0].type.dtype], POTRI[node.inputs[0].type.dtype]

    @numba_njit
    def shifted_inverse(A: Any, shift: Any) -> Any:
        d = A.shape[0]
        z = np.empty((d, d), A.dtype)
        for i in range(d):
            for j in range(i + 1):
                z[i, j] = A[i, j]
            z[i, i] += shift.item()
        # LAPACK counts columns first: to it a row-major lower triangle is an upper one
        upper = np.array([ord("U")], np.int32)
        order, lead = np.array([d], np.int32), np.array([max(d, 1)], np.int32)
        failed = np.zeros(1, np.int32)
        potrf(upper.ctypes, order.ctypes, z.ctypes, lead.ctypes, failed.ctypes)
        if failed[0] == 0:
            potri(upper.ctypes, order.ctypes, z.ctypes, lead.ctypes, failed.ctypes)
        if failed[0] != 0:
            z[:] = np.nan
        mirror(z)
        return z

    return shifted_inverse, VERSION
