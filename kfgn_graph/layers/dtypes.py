"""Conversion of a graph to a single floating-point dtype."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.builders import SymbolicOp
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.scalar import Cast
from pytensor.tensor.basic import Join
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import CAReduce, Elemwise
from pytensor.tensor.math import Dot
from pytensor.tensor.shape import Shape, Shape_i
from pytensor.tensor.type import TensorType

#: Ops that promote all their operands to one dtype, so that integers widen the result.
PROMOTING = (Elemwise, Dot, Join)


def has_axes(variable: Variable) -> bool:
    """Return whether a variable is an array, and neither a number, a generator nor ``None``."""
    return isinstance(variable.type, TensorType) and variable.type.ndim > 0


def is_float(variable: Variable) -> bool:
    """Return whether the variable is a tensor of real floating-point numbers."""
    return isinstance(variable.type, TensorType) and variable.type.dtype.startswith("float")


def rebuild_with_dtype(
    outputs: Sequence[Variable], parameters: Collection[Variable], dtype: str
) -> list[Variable]:
    """Clone ``outputs`` so that all that depends on a parameter is computed in ``dtype``.

    The roots (inputs and shared variables) remain the user's own. Wherever a variable of another
    floating-point dtype enters, it is cast to ``dtype``. That holds for data, targets, weights
    and other shared variables, constants, divisions by integer sizes, and for Ops that carry a
    dtype as an argument, such as a sum or a cast.

    Two things keep the precision that the user chose. Preprocessing of data that are stored in a
    wider dtype is computed in that dtype, and its result is cast: a difference of float64 time
    stamps loses its digits in float32. A cast to a narrower dtype still rounds.

    Parameters
    ----------
    outputs : sequence of Variable
        The variables to clone.
    parameters : collection of Variable
        The parameters to train, all of dtype ``dtype``.
    dtype : str
        The dtype of the result.

    Returns
    -------
    list of Variable
        The clones, each of dtype ``dtype`` if it is a floating-point variable.
    """
    kept = _preprocessing(outputs, parameters, dtype)
    memo: dict[Variable, Variable] = {}

    def rebuilt(variable: Variable) -> Variable:
        if variable not in memo:
            memo[variable] = _in_dtype(variable, dtype)
        return memo[variable]

    for node in toposort(outputs):
        if node in kept:
            continue
        inputs = [rebuilt(v) for v in node.inputs]
        results = _rebuilt_outputs(node, inputs, dtype)
        for old, result in zip(node.outputs, results, strict=True):
            fresh = _in_dtype(result, dtype)
            if fresh not in inputs:
                fresh.name = old.name
                fresh.tag = copy(old.tag)
            memo[old] = fresh
    return [rebuilt(v) for v in outputs]


def _preprocessing(
    outputs: Sequence[Variable], parameters: Collection[Variable], dtype: str
) -> set[Apply]:
    """Return the nodes that read no parameter and compute in the dtype that the user chose.

    They read the values of data that are wider than ``dtype``, or draw random numbers.
    """
    trained, wide = set(parameters), {v for v in graph_inputs(outputs) if _is_wide(v, dtype)}
    kept = set()
    for node in toposort(outputs):
        if any(v in trained for v in node.inputs):
            trained.update(node.outputs)
        elif isinstance(node.op, Shape | Shape_i):
            continue
        elif any(v in wide for v in node.inputs):
            wide.update(node.outputs)
            kept.add(node)
        elif any(not isinstance(v.type, TensorType) for v in node.outputs):
            kept.add(node)
    return kept


def _is_wide(variable: Variable, dtype: str) -> bool:
    """Return whether the variable holds data of a wider floating-point dtype than ``dtype``."""
    return (
        not isinstance(variable, Constant)
        and is_float(variable)
        and np.dtype(variable.type.dtype).itemsize > np.dtype(dtype).itemsize
    )


def _in_dtype(variable: Variable, dtype: str) -> Variable:
    """Return the variable, cast to ``dtype`` if it is of another floating-point dtype."""
    if not is_float(variable) or variable.type.dtype == dtype:
        return variable
    if isinstance(variable, Constant):
        return pt.constant(variable.data.astype(dtype), name=variable.name)
    cast = pt.cast(variable, dtype)
    cast.name = variable.name
    return cast


def _rebuilt_outputs(node: Apply, inputs: list[Variable], dtype: str) -> Sequence[Variable]:
    """Return the outputs of the node's Op for inputs in ``dtype``."""
    op = node.op
    if isinstance(op, Elemwise) and isinstance(op.scalar_op, Cast):
        return [_rebuilt_cast(node, inputs[0], dtype)]
    if isinstance(op, SymbolicOp):
        return op(*inputs, return_list=True)
    own, promoted = _with_dtype(op, dtype), inputs
    if isinstance(op.core_op if isinstance(op, Blockwise) else op, PROMOTING):
        promoted = _demoted_integers(node, inputs, dtype)
    try:
        if own is not op:
            return own.make_node(*promoted).outputs
        return node.clone_with_new_inputs(promoted, strict=False).outputs
    except (TypeError, ValueError):
        # an Op that is fixed to its dtypes, such as a loop: it computes in them, between casts
        originals = [_cast_back(v, old) for v, old in zip(inputs, node.inputs, strict=True)]
        return node.clone_with_new_inputs(originals).outputs


def _rebuilt_cast(node: Apply, x: Variable, dtype: str) -> Variable:
    """Return a user's cast: to ``dtype`` if it was to a wider dtype, else the same cast."""
    target = node.outputs[0].type.dtype
    narrower = np.dtype(target).itemsize < np.dtype(dtype).itemsize
    widening = target.startswith("float") and not narrower
    return pt.cast(x, dtype if widening else target)


def _cast_back(variable: Variable, old: Variable) -> Variable:
    return pt.cast(variable, old.type.dtype) if is_float(old) else variable


def _with_dtype(op: Op, dtype: str) -> Op:
    """Return an Op whose dtype argument, if it is a floating-point one, is ``dtype``."""
    if "dtype" not in getattr(op, "__props__", ()):
        return op
    if not str(op.dtype).startswith("float") or op.dtype == dtype:
        return op
    own = copy(op)
    own.dtype = dtype
    if isinstance(op, CAReduce):
        own.acc_dtype = None
    return own


def _demoted_integers(node: Apply, inputs: list[Variable], dtype: str) -> list[Variable]:
    """Cast integer operands that would promote the result to a wider float than ``dtype``."""
    old_dtype = node.outputs[0].type.dtype
    floats = {v.type.dtype for v in inputs if is_float(v)}
    if old_dtype == dtype or not old_dtype.startswith("float") or not floats <= {dtype}:
        return inputs
    return [pt.cast(v, dtype) if "int" in v.type.dtype else v for v in inputs]
