"""Example-axis rules of indexing and reshaping."""

from __future__ import annotations

import math

import numpy as np
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import Op
from pytensor.scalar import Add, Cast
from pytensor.tensor.basic import (
    Alloc,
    ARange,
    MakeVector,
    ScalarFromTensor,
    TensorFromScalar,
    constant,
)
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, Shape
from pytensor.tensor.subtensor import (
    AdvancedIncSubtensor,
    AdvancedSubtensor,
    IncSubtensor,
    Subtensor,
    indices_from_subtensor,
)

from kfgn_graph.layers.examples import FLATTENED, SUMMED, Axes, Mixes, example_axes, unmixed_state
from kfgn_graph.layers.lengths import are_equal, known_length, lengths_of
from kfgn_graph.layers.rows import have_same_rows, rows_are_examples
from kfgn_graph.printing import describe


@example_axes.register(Subtensor)
def example_axes_subtensor(op: Subtensor, node: Apply, axes: Axes) -> int:
    """Keep the example axes; refuse to index them by anything but full slices."""
    state = unmixed_state(node, axes)
    indices = indices_from_subtensor(node.inputs[1:], op.idx_list)
    if any(index != slice(None) for index in indices[:state]):
        raise Mixes(f"{op} selects some of the examples of {describe(node.inputs[0])}")
    return state


@example_axes.register(AdvancedSubtensor)
def example_axes_advanced_subtensor(op: AdvancedSubtensor, node: Apply, axes: Axes) -> int:
    """Keep the example axes in ``x[arange(N), label]`` and in its broadcast forms."""
    state = unmixed_state(node, axes)
    indices = indices_from_subtensor(node.inputs[1:], op.idx_list)
    for axis, index in enumerate(indices[:state]):
        if index == slice(None):
            continue
        if isinstance(index, slice) or not _is_arange_along(index, axis, state):
            raise Mixes(f"{op} indexes across the examples of {describe(node.inputs[0])}")
    return state


def _is_arange_along(index: Variable, axis: int, n_axes: int) -> bool:
    """Return whether ``index`` is ``arange(n)`` along ``axis`` of the indexed result."""
    position = 0
    while index.owner is not None and isinstance(index.owner.op, DimShuffle):
        if index.owner.inputs[0].type.ndim != 1:
            return False
        position = index.owner.op.new_order.index(0)
        index = index.owner.inputs[0]
    is_arange = index.owner is not None and isinstance(index.owner.op, ARange)
    if isinstance(index, Constant):
        long = [k for k, length in enumerate(index.data.shape) if length != 1]
        position = long[0] if len(long) == 1 and index.type.ndim > 1 else position
        is_arange = np.array_equal(np.ravel(index.data), np.arange(index.data.size))
        is_arange = is_arange and len(long) <= 1
    return is_arange and position == axis < n_axes


@example_axes.register(IncSubtensor)
def example_axes_set_subtensor(op: IncSubtensor, node: Apply, axes: Axes) -> int:
    """Keep the example axes of what is written, if it is written to all rows, as in padding."""
    state = unmixed_state(node, axes)
    y = node.inputs[1]
    if y not in axes:
        return state  # a constant, which any of the rows may have
    indices = indices_from_subtensor(node.inputs[2:], op.idx_list)
    for axis, index in enumerate(indices[:state]):
        if index != slice(None) and not _is_up_to(index, axis, y, axes):
            raise Mixes(f"{op} writes to some of the examples of {describe(node.outputs[0])}")
    return state


@example_axes.register(AdvancedIncSubtensor)
def example_axes_advanced_set_subtensor(op: AdvancedIncSubtensor, node: Apply, axes: Axes) -> int:
    """Keep the example axes where each example writes to its own entries, ``arange(N), label``."""
    state = unmixed_state(node, axes)
    if node.inputs[0] not in axes:
        raise Mixes(f"{op} writes examples into {describe(node.inputs[0])}")
    indices = indices_from_subtensor(node.inputs[2:], op.idx_list)
    for axis, index in enumerate(indices[:state]):
        if isinstance(index, slice) or not _is_arange_along(index, axis, state):
            raise Mixes(f"{op} writes across the examples of {describe(node.inputs[0])}")
    return state


def _is_up_to(index: object, axis: int, x: Variable, axes: Axes) -> bool:
    """Return whether an index is ``:n``, with the number n of the examples of x."""
    if not isinstance(index, slice) or index.start is not None or index.step is not None:
        return False
    return _is_example_size(index.stop, axis, x, axes)


@example_axes.register(Alloc)
def example_axes_alloc(op: Alloc, node: Apply, axes: Axes) -> int:
    """Keep the example axes of a variable that is repeated along other axes."""
    state = unmixed_state(node, axes)
    v = node.inputs[0]
    if v.type.ndim != node.outputs[0].type.ndim or any(v.type.broadcastable[:state]):
        raise Mixes(f"{op} repeats {describe(v)} over the examples")
    return state


@example_axes.register(JoinDims)
@example_axes.register(SplitDims)
@example_axes.register(Reshape)
def example_axes_reshape(op: Op, node: Apply, axes: Axes) -> int:
    """Keep the example axes; or keep the event axes, so that those before them count examples."""
    x, y = node.inputs[0], node.outputs[0]
    state = unmixed_state(node, {x: axes[x]})
    sizes = _target_sizes(node)
    if _infers_example_axis(sizes, x) and state == 1:
        return state
    if len(sizes) >= state and all(_is_example_size(sizes[k], k, x, axes) for k in range(state)):
        return state
    n_features = x.type.ndim - state
    kept = len(sizes) - n_features
    if kept >= 1 and all(_same_size(sizes[kept + k], x, state + k) for k in range(n_features)):
        return _without_single_entries(kept, y) if n_features == 0 else kept
    if y.type.ndim == 1:
        return FLATTENED
    raise Mixes(f"{op} cannot be shown to keep examples apart, in {describe(y)}")


def _without_single_entries(kept: int, y: Variable) -> int:
    """Return the number of example axes of y, of which trailing axes of length 1 are events."""
    while kept > 1 and y.type.shape[kept - 1] == 1:
        kept -= 1
    return kept


def _target_sizes(node: Apply) -> list[int | Variable | None]:
    """Return the length of each output axis: static if known, else symbolic, else None."""
    y = node.outputs[0]
    symbolic: list[Variable | None] = [None] * y.type.ndim
    if isinstance(node.op, Reshape):
        target = node.inputs[1].owner
        if target is not None and isinstance(target.op, MakeVector):
            symbolic = list(target.inputs)
        elif isinstance(node.inputs[1], Constant):
            symbolic = [constant(size) for size in node.inputs[1].data]
        elif target is not None and isinstance(target.op, Shape):
            symbolic = [target.outputs[0][k] for k in range(y.type.ndim)]
    elif isinstance(node.op, JoinDims):
        op, x = node.op, node.inputs[0]
        lengths = [x.shape[k] for k in range(x.type.ndim)]
        symbolic = [*lengths[: op.start_axis], None, *lengths[op.start_axis + op.n_axes :]]
    return [s if s is not None else v for s, v in zip(y.type.shape, symbolic, strict=True)]


#: Ops between a size and its use: casts, changes of rank, and the addition of a padding of 0.
SEEN_THROUGH = (Elemwise, DimShuffle, ScalarFromTensor, TensorFromScalar)


def _is_zero(v: Variable) -> bool:
    return isinstance(v, Constant) and v.type.ndim == 0 and v.data == 0


def _length_of(size: Variable) -> tuple[Variable, int] | None:
    """Return (variable, axis) if ``size`` is the symbolic length of that axis, else None."""
    while size.owner is not None and isinstance(size.owner.op, SEEN_THROUGH):
        terms = [v for v in size.owner.inputs if not _is_zero(v)]
        kept = not isinstance(size.owner.op, Elemwise) or isinstance(
            size.owner.op.scalar_op, Cast | Add
        )
        if not kept or len(terms) != 1:
            return None
        size = terms[0]
    node = size.owner
    if node is None or not isinstance(node.op, Subtensor):
        return None
    shape = node.inputs[0].owner
    indices = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    if shape is None or not isinstance(shape.op, Shape) or not isinstance(indices[0], Constant):
        return None
    return shape.inputs[0], int(indices[0].data)


def _same_size(size: int | Variable | None, x: Variable, axis: int) -> bool:
    """Return whether ``size`` is the length of ``x`` along ``axis``."""
    if not isinstance(size, Variable):
        return size is not None and size == x.type.shape[axis]
    return _length_of(size) == (x, axis)


def _is_example_size(size: int | Variable | None, axis: int, x: Variable, axes: Axes) -> bool:
    """Return whether ``size`` is the length of example axis ``axis`` of x, by any variable."""
    if not isinstance(size, Variable):
        return size is not None and size == x.type.shape[axis]
    return _is_inherited_size(size, axis, x, axes) or are_equal(size, lengths_of(x)[axis])


def _is_inherited_size(size: Variable, axis: int, x: Variable, axes: Axes) -> bool:
    """Return whether ``size`` is the length of an axis that x inherits, Op by Op."""
    found = _length_of(size)
    if found is None:
        return False
    variable, k = found
    if (variable, k) == (x, axis):
        return True
    if variable not in axes:
        one_row_each = k == axis == 0 and axes.get(x) == 1
        return one_row_each and rows_are_examples([variable, x])
    return k == axis < axes.get(variable, SUMMED) and have_same_rows(variable, x, axes)


def _infers_example_axis(sizes: list[int | Variable | None], x: Variable) -> bool:
    """Return whether the target shape is (-1, ...), where ... holds exactly one example of x."""
    first = sizes[0]
    if not isinstance(first, Constant) or int(first.data) != -1:
        return False
    lengths = list(map(known_length, lengths_of(x)[1:]))
    event = [length for length in lengths if length is not None]
    if len(event) < len(lengths):
        return False
    known = [int(s.data) if isinstance(s, Constant) else s for s in sizes[1:]]
    after = [s for s in known if isinstance(s, int)]
    return len(after) == len(known) and math.prod(after) == math.prod(event)
