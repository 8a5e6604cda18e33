"""Functions that evaluate single nodes: kernels compiled by Numba, or Python.

Kernels are compiled one by one. Their cache keys on disk do not depend on the shapes of arrays,
so that different graphs share them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np
from pytensor import config
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.link.numba.dispatch.basic import numba_funcify_and_cache_key, numba_njit
from pytensor.scalar.basic import ScalarOp, ScalarType
from pytensor.tensor.basic import (
    ScalarFromTensor,
    TensorFromScalar,
)
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.math import Dot
from scipy.linalg import blas

from kfgn_graph.backends.rewrites.blas_op import BLAS_PREFIXES
from kfgn_graph.backends.rewrites.materialise import Materialise
from kfgn_graph.backends.rewrites.scalar_source import NUMPY_OPS, python_function
from kfgn_graph.linalg.newton_schulz import IteratedInverses
from kfgn_graph.linalg.shifted_solve import ShiftedSolve


def kernel_of(node: Apply, memo: dict[Any, Any]) -> tuple[Callable[..., Any], str | None]:
    """Return a function that evaluates a node, and the cache key of a compiled function.

    Parameters
    ----------
    node : Apply
        The node.
    memo : dict
        PyTensor's memo of Ops that contain graphs.
    """
    function = in_python(node.op, node)
    if function is not None:
        return function, None
    compiled, key = numba_funcify_and_cache_key(node.op, node=node, ofg_memo=memo)
    names = ", ".join(f"x{i}" for i in range(len(node.inputs)))
    called = compile_numba_function_src(
        f"def {compiled.__name__}({names}): return compiled({names})",
        compiled.__name__,
        {"compiled": compiled, "__name__": __name__},
        # the module's name, since cached code imports the module that compiled it
        cache_key=key and f"{__name__} {key} fastmath {config.numba__fastmath}",
    )
    cached = key is not None
    kernel = numba_njit(called, final_function=True, no_cfunc_wrapper=True, cache=cached)
    return typed(kernel, node), key


def typed(kernel: Callable[..., Any], node: Apply) -> Callable[..., Any]:
    """Return a kernel whose scalar results are NumPy scalars of the node's dtypes."""
    types = [
        np.dtype(v.type.dtype).type if isinstance(v.type, ScalarType) else None
        for v in node.outputs
    ]
    if not any(types):
        return kernel
    number = types[0]
    if number is not None and len(types) == 1:
        return lambda *inputs: number(kernel(*inputs))

    def several(*inputs: Any) -> list[Any]:
        results = zip(types, kernel(*inputs), strict=True)
        return [value if number is None else number(value) for number, value in results]

    return several


@singledispatch
def in_python(op: Op, node: Apply) -> Callable[..., Any] | None:
    """Return a Python function that evaluates a node, or None if Numba has to compile it."""
    return None


def by_perform(op: Op, node: Apply) -> Callable[..., Any]:
    """Return a function that evaluates a node by its Op's ``perform``."""
    perform, count = op.perform, len(node.outputs)

    def one(*inputs: Any) -> Any:
        storage = [None]
        perform(node, inputs, [storage])
        return storage[0]

    def several(*inputs: Any) -> list[Any]:
        storages: list[list[Any]] = [[None] for _ in range(count)]
        perform(node, inputs, storages)
        return [storage[0] for storage in storages]

    return one if count == 1 else several


# NumPy, LAPACK and BLAS evaluate these Ops as fast as compiled code.
for kind in (
    *NUMPY_OPS,
    Materialise,
    ShiftedSolve,
    IteratedInverses,
    ScalarFromTensor,
    TensorFromScalar,
):
    in_python.register(kind, by_perform)


@in_python.register(ScalarOp)
def scalar_expression(op: ScalarOp, node: Apply) -> Callable[..., Any]:
    """Return a function of NumPy scalars."""
    return python_function(op, [v.type for v in node.inputs]) or by_perform(op, node)


@in_python.register(DimShuffle)
def dimshuffle(op: DimShuffle, node: Apply) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that returns a view with other axes."""
    order = *op.shuffle, *op.drop
    permuted = order != tuple(range(len(order)))
    places = [None if axis == "x" else slice(None) for axis in op.new_order]
    index = *places, *[0] * len(op.drop), ...
    if all(place == slice(None) for place in index[:-1]):
        return (lambda x: x.transpose(order)) if permuted else (lambda x: x)
    return (lambda x: x.transpose(order)[index]) if permuted else (lambda x: x[index])


@in_python.register(Dot)
def matrix_product(op: Dot, node: Apply) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """Return a product of matrices by SciPy's BLAS, whose threads the factorisations use too."""
    types = [v.type for v in node.inputs]
    prefix = BLAS_PREFIXES.get(types[0].dtype)
    if prefix is None or types[1].dtype != types[0].dtype or {t.ndim for t in types} != {2}:
        return None
    gemm, dtype = getattr(blas, f"{prefix}gemm"), types[0].dtype

    def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.shape[1] != y.shape[0]:
            raise ValueError(f"matrices of shapes {x.shape} and {y.shape} cannot be multiplied.")
        z = np.empty((y.shape[1], x.shape[0]), dtype, order="F")
        if not (x.size and y.size):
            z[:] = 0
            return z.T
        # BLAS is column-major: a row-major matrix is its transpose there
        swapped, after = y.flags.f_contiguous, x.flags.f_contiguous
        left, right = y if swapped else y.T, x if after else x.T
        result: np.ndarray = gemm(1.0, left, right, 0.0, z, swapped, after, 1)
        return result.T

    return product
