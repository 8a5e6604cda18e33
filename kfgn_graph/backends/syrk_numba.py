"""Numba's rule for :class:`Syrk`, by the SYRK of SciPy's BLAS; imported where Numba compiles."""

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

from kfgn_graph.backends.symmetric import BLAS_LETTERS, Syrk

#: Of the code below, a part of the key of compiled code on disk.
VERSION = 2

#: Rows and columns that the mirror copies at a time.
BLOCK = 32


def blas_syrk(dtype: str) -> types.ExternalFunction:
    """Return SciPy's SYRK under a name of its own, by which cached code finds it again."""
    letter = BLAS_LETTERS[dtype]
    symbol = f"kfgn_{letter}syrk"
    address = get_cython_function_address("scipy.linalg.cython_blas", f"{letter}syrk")
    llvmlite.binding.add_symbol(symbol, address)
    integer, number = types.CPointer(types.int32), types.CPointer(getattr(types, dtype))
    # uplo, trans; n, k; alpha, A, lda; beta, C, ldc
    arguments = [*[integer] * 4, number, number, integer, number, number, integer]
    return types.ExternalFunction(symbol, types.void(*arguments))


ROUTINES = {dtype: blas_syrk(dtype) for dtype in BLAS_LETTERS}


@numba_njit
def mirror(z: Any) -> None:
    """Copy the lower triangle of a square matrix to the upper one."""
    d = z.shape[0]
    for p in range(0, d, BLOCK):
        for q in range(0, p + 1, BLOCK):
            for i in range(p, min(p + BLOCK, d)):
                for j in range(q, min(q + BLOCK, i)):
                    z[j, i] = z[i, j]


@register_funcify_default_op_cache_key(Syrk)
def numba_funcify_syrk(op: Syrk, node: Apply, **kwargs: Any) -> tuple[Callable[..., Any], int]:
    """Return the call of SYRK, for rows or columns that are contiguous without a copy."""
    dtype = node.inputs[0].type.numpy_dtype
    routine = ROUTINES[node.inputs[0].type.dtype]

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
