"""Views: the ways in which an affine map reads a parameter without changing its entries.

A view transposes, expands, reshapes or reverses axes. The steps of a view are replayed on other
values of the parameter's shape, such as its gradient, and undone on those of the matrix.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod

from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, SpecifyShape
from pytensor.tensor.subtensor import Subtensor, indices_from_subtensor
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.lengths import known_length, target_sizes

Shape = tuple[int, ...]
REVERSED = slice(None, None, -1)
VIEWS = (DimShuffle, SpecifyShape, Reshape, JoinDims, SplitDims, Subtensor)
"""The Ops of a view: they move all entries, and change none."""


def is_view(node: Apply) -> bool:
    """Return whether a node is one step of a view, whose shape follows from that of its input."""
    if not isinstance(node.op, VIEWS):
        return False
    if isinstance(node.op, Reshape):
        return _target_shape(node).count(None) <= 1
    if isinstance(node.op, Subtensor):
        return all(index in (slice(None), REVERSED) for index in _indices(node))
    return not isinstance(node.op, SplitDims) or isinstance(node.inputs[1], Constant)


def underlying_parameter(variable: Variable, parameters: Collection[Variable]) -> Variable | None:
    """Return the parameter, if ``variable`` is one or a view of one."""
    steps = []
    while variable not in parameters:
        node = variable.owner
        if node is None or not isinstance(node.op, VIEWS):
            return None
        steps.append(node)
        variable = node.inputs[0]
    return variable if all(map(is_view, steps)) else None


def steps_of(view: Variable, parameter: Variable) -> list[Apply]:
    """Return the nodes from a parameter to a view of it, in forward order."""
    steps: list[Apply] = []
    while view is not parameter:
        steps.append(view.owner)
        view = view.owner.inputs[0]
    return steps[::-1]


def shapes_of(steps: Sequence[Apply], shape: Shape) -> list[Shape]:
    """Return the shape of the parameter, and that after each step."""
    shapes = [shape]
    for node in steps:
        shapes.append(_shape_after(node, shapes[-1]))
    return shapes


def _target_shape(node: Apply) -> tuple[int | None, ...]:
    """Return what is known of the shape that a Reshape gives, of which one length may be open."""
    shape = node.outputs[0].type.shape
    if shape.count(None) <= 1:
        return shape
    return tuple(map(known_length, target_sizes(node.outputs[0])))


def _indices(node: Apply) -> list[object]:
    """Return the indices of a Subtensor, constants as numbers."""
    found = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    return [_with_numbers(k) if isinstance(k, slice) else k for k in found]


def _with_numbers(index: slice) -> slice:
    parts = (index.start, index.stop, index.step)
    return slice(*(int(v.data) if isinstance(v, Constant) else v for v in parts))


def _shape_after(node: Apply, shape: Shape) -> Shape:
    op = node.op
    if isinstance(op, DimShuffle):
        return tuple(1 if k == "x" else shape[k] for k in op.new_order)
    if isinstance(op, JoinDims):
        first, last = op.start_axis, op.start_axis + op.n_axes
        return (*shape[:first], prod(shape[first:last]), *shape[last:])
    if isinstance(op, SplitDims):
        lengths = tuple(int(n) for n in node.inputs[1].data)
        return (*shape[: op.axis], *lengths, *shape[op.axis + 1 :])
    if isinstance(op, SpecifyShape | Subtensor):
        return shape
    known = _target_shape(node)
    rest = prod(n for n in known if n is not None)
    return tuple(prod(shape) // rest if n is None else n for n in known)


def replayed(value: TensorVariable, steps: Sequence[Apply], shape: Shape) -> TensorVariable:
    """Return the view of another value of the parameter's shape."""
    for node, after in zip(steps, shapes_of(steps, shape)[1:], strict=True):
        if isinstance(node.op, DimShuffle):
            value = node.op(value)
        elif isinstance(node.op, Subtensor):
            value = value[tuple(_indices(node))]
        elif not isinstance(node.op, SpecifyShape):
            value = value.reshape(after)
    return value


def undone(view: TensorVariable, steps: Sequence[Apply], shape: Shape) -> TensorVariable:
    """Return the value of the parameter's shape that a view is of."""
    before = shapes_of(steps, shape)
    for node, original in reversed(list(zip(steps, before, strict=False))):
        if isinstance(node.op, DimShuffle):
            order = node.op.new_order
            kept = [k for k in range(len(original)) if k in order]
            view = view.dimshuffle(*(order.index(k) for k in kept))
        if isinstance(node.op, Subtensor):
            view = view[tuple(_indices(node))]
        elif not isinstance(node.op, SpecifyShape):
            view = view.reshape(original)
    return view
