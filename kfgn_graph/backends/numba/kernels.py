"""What computes a node of a graph for Numba: a compiled kernel, or Python where that is no slower.

Kernels are compiled one by one and kept on disk by what they compute, whatever the sizes of
arrays, so that networks share them.
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

from kfgn_graph.backends.rewrites.blas_op import BLAS_LETTERS
from kfgn_graph.backends.rewrites.scalar_source import AT_ONCE, python_function
from kfgn_graph.linalg.materialise import Materialise
from kfgn_graph.linalg.newton_schulz import IteratedInverses
from kfgn_graph.linalg.shifted_solve import ShiftedSolve


def kernel_of(node: Apply, memo: dict[Any, Any]) -> tuple[Callable[..., Any], str | None]:
    """Return a function of a node's inputs, and what tells it from others if it is compiled.

    Parameters
    ----------
    node : Apply
        Of the graph.
    memo : dict
        PyTensor's, of Ops that are graphs.
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
        cache_key=key and f"kfgn {key} fastmath {config.numba__fastmath}",
    )
    cached = key is not None
    kernel = numba_njit(called, final_function=True, no_cfunc_wrapper=True, cache=cached)
    return typed(kernel, node), key


def typed(kernel: Callable[..., Any], node: Apply) -> Callable[..., Any]:
    """Return a kernel whose numbers are NumPy's, of a node's dtypes, where Numba has Python's."""
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
    """Return a Python function that computes a node without Numba, None if Numba shall do it."""
    return None


def performed(op: Op, node: Apply) -> Callable[..., Any]:
    """Return PyTensor's own computation of a node by NumPy."""
    perform, places = op.perform, len(node.outputs)

    def one(*inputs: Any) -> Any:
        storage = [None]
        perform(node, inputs, [storage])
        return storage[0]

    def several(*inputs: Any) -> list[Any]:
        storages: list[list[Any]] = [[None] for _ in range(places)]
        perform(node, inputs, storages)
        return [storage[0] for storage in storages]

    return one if places == 1 else several


# What NumPy does at once, what is but a view, and what is LAPACK's or BLAS's work.
for kind in (
    *AT_ONCE,
    Materialise,
    ShiftedSolve,
    IteratedInverses,
    ScalarFromTensor,
    TensorFromScalar,
):
    in_python.register(kind, performed)


@in_python.register(ScalarOp)
def numbers(op: ScalarOp, node: Apply) -> Callable[..., Any]:
    """Return the computation of NumPy's numbers by Python's expressions."""
    return python_function(op, [v.type for v in node.inputs]) or performed(op, node)


@in_python.register(DimShuffle)
def view(op: DimShuffle, node: Apply) -> Callable[[np.ndarray], np.ndarray]:
    """Return the view of an array with other axes."""
    order = *op.shuffle, *op.drop
    turned = order != tuple(range(len(order)))
    places = [None if axis == "x" else slice(None) for axis in op.new_order]
    index = *places, *[0] * len(op.drop), ...
    if all(place == slice(None) for place in index[:-1]):
        return (lambda x: x.transpose(order)) if turned else (lambda x: x)
    return (lambda x: x.transpose(order)[index]) if turned else (lambda x: x[index])


@in_python.register(Dot)
def product_of(op: Dot, node: Apply) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """Return the product of matrices by the BLAS that factorises as well, SciPy's."""
    types = [v.type for v in node.inputs]
    letter = BLAS_LETTERS.get(types[0].dtype)
    if letter is None or types[1].dtype != types[0].dtype or {t.ndim for t in types} != {2}:
        return None
    gemm, dtype = getattr(blas, f"{letter}gemm"), types[0].dtype

    def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.shape[1] != y.shape[0]:
            raise ValueError(f"no product of matrices of shapes {x.shape} and {y.shape}.")
        z = np.empty((y.shape[1], x.shape[0]), dtype, order="F")
        if not (x.size and y.size):
            z[:] = 0
            return z.T
        # BLAS counts columns first: to it a row-major matrix is its transpose
        swapped, after = y.flags.f_contiguous, x.flags.f_contiguous
        left, right = y if swapped else y.T, x if after else x.T
        result: np.ndarray = gemm(1.0, left, right, 0.0, z, swapped, after, 1)
        return result.T

    return product
