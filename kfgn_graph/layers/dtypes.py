"""Conversion of a graph to a single floating-point dtype."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import pytensor.tensor as pt
from pytensor.compile.builders import SymbolicOp
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import toposort
from pytensor.scalar import Cast
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.type import TensorType


def is_float(variable: Variable) -> bool:
    """Return whether the variable is a tensor of real floating-point numbers."""
    return isinstance(variable.type, TensorType) and variable.type.dtype.startswith("float")


def rebuild_with_dtype(outputs: Sequence[Variable], dtype: str) -> list[Variable]:
    """Clone ``outputs`` with floating-point roots and constants cast to ``dtype``.

    The roots (inputs and shared variables) remain the user's own. PyTensor promotes Python
    numbers, float64 constants and divisions by integer sizes to float64; here they get
    ``dtype``. Casts written by the user are kept.
    """
    memo: dict[Variable, Variable] = {}

    def rebuilt(variable: Variable) -> Variable:
        if variable not in memo:
            memo[variable] = _cast_root(variable, dtype)
        return memo[variable]

    for node in toposort(outputs):
        inputs = [rebuilt(v) for v in node.inputs]
        if isinstance(node.op, Elemwise) and not isinstance(node.op.scalar_op, Cast):
            inputs = _demote_sizes(node.outputs[0].type.dtype, inputs, dtype)
        if isinstance(node.op, SymbolicOp):
            results = node.op(*inputs, return_list=True)
        else:
            results = node.clone_with_new_inputs(inputs, strict=False).outputs
        for old, fresh in zip(node.outputs, results, strict=True):
            fresh.name = old.name
            fresh.tag = copy(old.tag)
            memo[old] = fresh
    return [rebuilt(v) for v in outputs]


def _cast_root(variable: Variable, dtype: str) -> Variable:
    if not is_float(variable) or variable.type.dtype == dtype:
        return variable
    if isinstance(variable, Constant):
        return pt.constant(variable.data.astype(dtype), name=variable.name)
    cast = pt.cast(variable, dtype)
    cast.name = variable.name
    return cast


def _demote_sizes(old_dtype: str, inputs: list[Variable], dtype: str) -> list[Variable]:
    """Cast integer operands that would promote the result to a wider float than ``dtype``."""
    floats = {v.type.dtype for v in inputs if is_float(v)}
    if old_dtype == dtype or not old_dtype.startswith("float") or not floats <= {dtype}:
        return inputs
    return [pt.cast(v, dtype) if "int" in v.type.dtype else v for v in inputs]
