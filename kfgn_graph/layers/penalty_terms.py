"""Separation of a loss into its data terms and its penalty terms."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.scalar import Add, Cast, Mul, Neg, Sub, TrueDiv
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.vectors import total

Parts = tuple[TensorVariable | None, TensorVariable | None]


def split_penalty(
    loss: TensorVariable, from_parameters: Collection[Variable], from_data: Collection[Variable]
) -> Parts:
    """Split ``loss`` into the terms that read data and the terms that read parameters alone.

    Parameters
    ----------
    loss : scalar TensorVariable
        The loss, in the intermediate representation.
    from_parameters : collection of Variable
        The variables that depend on a parameter, directly or through a layer.
    from_data : collection of Variable
        The variables that depend on data: on a batch input, or on a layer's output.

    Returns
    -------
    tuple
        The data part and the penalty, which add up to ``loss``; None for a part without terms.
        A term that reads neither data nor parameters belongs to the data part.
    """
    if loss not in from_parameters or loss not in from_data:
        return (None, loss) if loss in from_parameters else (loss, None)
    parts = _split(loss, from_parameters, from_data)
    return parts if parts[1] is not None else (loss, None)


def _split(
    loss: TensorVariable, from_parameters: Collection[Variable], from_data: Collection[Variable]
) -> Parts:
    """Split a scalar that depends on data and on parameters."""
    node = loss.owner
    if node is None or not isinstance(node.op, Elemwise):
        return loss, None
    scalar_op = node.op.scalar_op
    if isinstance(scalar_op, Add | Sub):
        return _split_sum(node.inputs, isinstance(scalar_op, Sub), from_parameters, from_data)
    factor_index = _linear_operand(scalar_op, node.inputs, from_parameters)
    if factor_index is None:
        return loss, None
    parts = split_penalty(node.inputs[factor_index], from_parameters, from_data)
    return _map_parts(parts, lambda part: _with_input(node, factor_index, part))


def _linear_operand(
    scalar_op: object, inputs: list[Variable], varying: Collection[Variable]
) -> int | None:
    """Return the index of the only varying operand if the operation is linear in it, or None."""
    indices = [i for i, v in enumerate(inputs) if v in varying]
    if len(indices) != 1 or not isinstance(scalar_op, Neg | Mul | TrueDiv | Cast):
        return None
    return None if isinstance(scalar_op, TrueDiv) and indices[0] == 1 else indices[0]


def _with_input(node: Apply, index: int, replacement: TensorVariable) -> TensorVariable:
    inputs = list(node.inputs)
    inputs[index] = replacement
    return node.op(*inputs)


def _map_parts(parts: Parts, function: Callable[[TensorVariable], TensorVariable]) -> Parts:
    data, penalty = parts
    return (
        None if data is None else function(data),
        None if penalty is None else function(penalty),
    )


def _split_sum(
    inputs: list[Variable],
    negate_rest: bool,
    from_parameters: Collection[Variable],
    from_data: Collection[Variable],
) -> Parts:
    split = [split_penalty(v, from_parameters, from_data) for v in inputs]
    if negate_rest:
        split[1:] = [_map_parts(parts, pt.neg) for parts in split[1:]]
    data = [part for part, _ in split if part is not None]
    penalty = [part for _, part in split if part is not None]
    return total(data) if data else None, total(penalty) if penalty else None
