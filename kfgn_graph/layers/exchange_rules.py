"""Rules for the exchange of the time with the examples, by the type of the Op."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch
from typing import Protocol

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import Op
from pytensor.tensor.basic import Join
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.shape import Shape, SpecifyShape
from pytensor.tensor.special import LogSoftmax, LogSumExp, Softmax
from pytensor.tensor.subtensor import Subtensor, indices_from_subtensor

from kfgn_graph.layers.ir import Affine, NetworkOutput, affine

ALL = slice(None)
SWAPPED = {0: 1, 1: 0}

#: A new variable, and whether its axes are exchanged.
Found = tuple[Variable, bool]


class Values(Protocol):
    """The values of a state of a loop: ``depth`` initial values, and those after the steps."""

    @property
    def after(self) -> Variable:
        """The values after each step, of shape (N, T, ...)."""

    @property
    def depth(self) -> int:
        """The number of initial values."""


class Graph(Protocol):
    """A graph in which some variables are known with the examples first."""

    def plain(self, v: Variable) -> Variable:
        """Return the new variable for v."""

    def is_exchanged(self, v: Variable) -> bool:
        """Return whether v is known with the examples first."""

    def by_example(self, v: Variable) -> Variable:
        """Return the new variable for v with its axes exchanged."""

    def state(self, v: Variable) -> Values | None:
        """Return the values of a state, if v holds them."""


def swapped(axes: Iterable[int]) -> tuple[int, ...]:
    """Return axes with 0 and 1 exchanged."""
    return tuple(SWAPPED.get(axis, axis) for axis in axes)


def exchanged_axes(v: Variable) -> Variable:
    """Return a variable with its first two axes exchanged, as far back as the Ops allow."""
    node, order = v.owner, (1, 0, *range(2, v.type.ndim))
    if node is None:
        return v.dimshuffle(order)
    op = node.op
    if isinstance(op, DimShuffle):
        composed = tuple(op.new_order[k] for k in order)
        x = node.inputs[0]
        return x if composed == tuple(range(x.type.ndim)) else x.dimshuffle(composed)
    if isinstance(op, Affine) and v.type.ndim > 2:
        a, *parameters = node.inputs
        return affine(exchanged_axes(a), *parameters)
    if isinstance(op, Elemwise) and len(node.outputs) == 1:
        return op(*(exchanged_axes(u) for u in node.inputs))
    if isinstance(op, Subtensor):
        x = node.inputs[0]
        indices = [*indices_from_subtensor(node.inputs[1:], op.idx_list), ALL, ALL][
            : max(2, len(op.idx_list))
        ]
        if all(isinstance(index, slice) for index in indices[:2]):
            return exchanged_axes(x)[(indices[1], indices[0], *indices[2:])]
    return v.dimshuffle(order)


@singledispatch
def after_exchange(op: Op, node: Apply, graph: Graph) -> Found | None:
    """Return the output of a node that reads variables known with the examples first.

    Parameters
    ----------
    op : Op
        The Op of the node. Its type selects the rule.
    node : Apply
        The node, of the old graph.
    graph : Graph
        The new variables.

    Returns
    -------
    tuple or None
        The new output, and whether its axes are exchanged; None if there is no rule.
    """
    return None


@after_exchange.register(Elemwise)
def elementwise(op: Elemwise, node: Apply, graph: Graph) -> Found | None:
    """Exchange the axes of all inputs."""
    if len(node.outputs) > 1:
        return None
    return op(*(graph.by_example(v) for v in node.inputs)), True


@after_exchange.register(NetworkOutput)
def network_output(op: NetworkOutput, node: Apply, graph: Graph) -> Found:
    """Exchange the axes of the input."""
    return op(graph.by_example(node.inputs[0])), True


@after_exchange.register(Affine)
def affine_map(op: Affine, node: Apply, graph: Graph) -> Found | None:
    """Exchange the axes of the input."""
    a, *parameters = node.inputs
    if a.type.ndim < 3:
        return None
    return affine(graph.by_example(a), *(graph.plain(p) for p in parameters)), True


@after_exchange.register(Subtensor)
def subtensor(op: Subtensor, node: Apply, graph: Graph) -> Found | None:
    """Index the second axis in the place of the first."""
    x = node.inputs[0]
    first, second, *rest = [*indices_from_subtensor(node.inputs[1:], op.idx_list), ALL, ALL][
        : max(2, len(op.idx_list))
    ]
    if any(isinstance(i, Variable) and graph.plain(i) is not i for i in (first, second, *rest)):
        return None
    state = graph.state(x)
    source = None
    if state is not None:
        later = _among_later(first, state.depth)
        if later is not None:
            source, first = state.after, later
    if source is None:
        source = graph.by_example(x)
    indices = (second, first, *rest)
    if all(index == ALL for index in indices):
        return source, True
    if isinstance(first, slice) or isinstance(second, slice):
        return source[indices], isinstance(first, slice) and isinstance(second, slice)
    return None


def _among_later(index: object, depth: int) -> object | None:
    """Return an index of a state's values as one of the values after the steps, if it is one.

    The values of a state begin with one initial value or more: ``x[1:]`` are all values after the
    steps, ``x[-1]`` is the last.
    """
    if not isinstance(index, slice):
        value = _number(index)
        if value is None:
            return None
        return value if value < 0 else (value - depth if value >= depth else None)
    start, stop, step = (_number(b) for b in (index.start, index.stop, index.step))
    if index.step is not None and step is None:
        return None
    step = 1 if step is None else step
    if step > 0:
        return _forward(index, start, stop, step, depth)
    return _backward(index, start, stop, step, depth)


def _forward(
    index: slice, start: int | None, stop: int | None, step: int, depth: int
) -> slice | None:
    if start is None or start < depth or (index.stop is not None and (stop is None or stop >= 0)):
        return None
    return slice(start - depth or None, stop, step if step != 1 else None)


def _backward(
    index: slice, start: int | None, stop: int | None, step: int, depth: int
) -> slice | None:
    if index.start is not None and (start is None or start >= 0):
        return None
    if index.stop is None or stop is None or stop < depth - 1:
        return None
    return slice(start, None if stop == depth - 1 else stop - depth, step)


def _number(index: object) -> int | None:
    if isinstance(index, Constant):
        return int(index.data)
    return int(index) if isinstance(index, int) else None


def lengths_after_exchange(node: Apply, graph: Graph) -> Variable | None:
    """Return the shape of a variable that is known with the examples first, or one length of it.

    None if the node computes neither.
    """
    shape = node if isinstance(node.op, Shape) else node.inputs[0].owner
    if shape is None or not isinstance(shape.op, Shape) or not graph.is_exchanged(shape.inputs[0]):
        return None
    source = graph.by_example(shape.inputs[0])
    lengths = [_length(source, k) for k in swapped(range(source.type.ndim))]
    if shape is node:
        return pt.stack(lengths)
    if not isinstance(node.op, Subtensor):
        return None
    (axis,) = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    number = _number(axis)
    return None if number is None else lengths[number]


def _length(v: Variable, axis: int) -> Variable:
    static = v.type.shape[axis]
    return v.shape[axis] if static is None else pt.constant(static, dtype="int64")


@after_exchange.register(CAReduce)
def reduction(op: CAReduce, node: Apply, graph: Graph) -> Found:
    """Reduce over the exchanged axes."""
    x = graph.by_example(node.inputs[0])
    axes = swapped(range(x.type.ndim) if op.axis is None else op.axis)
    reduced = op.clone(axis=tuple(sorted(axes)))(x)
    return reduced, not {0, 1} & set(axes)


@after_exchange.register(DimShuffle)
def dimshuffle(op: DimShuffle, node: Apply, graph: Graph) -> Found | None:
    """Permute the exchanged axes."""
    x = graph.by_example(node.inputs[0])
    order = tuple(SWAPPED.get(k, k) for k in op.new_order)
    if order[:1] == (0,):
        kept = order == tuple(range(x.type.ndim))
        return (x if kept else x.dimshuffle(order)), False
    if order[:2] == (1, 0):
        return x.dimshuffle((0, 1, *order[2:])), True
    return None


@after_exchange.register(Join)
def join(op: Join, node: Apply, graph: Graph) -> Found:
    """Join along the exchanged axis."""
    axis = op.axis % node.outputs[0].type.ndim
    pieces = [graph.by_example(v) for v in node.inputs]
    return pt.concatenate(pieces, axis=SWAPPED.get(axis, axis)), True


@after_exchange.register(Softmax)
@after_exchange.register(LogSoftmax)
def softmax(op: Softmax, node: Apply, graph: Graph) -> Found | None:
    """Normalise over other axes than those that are exchanged."""
    axes = range(node.inputs[0].type.ndim) if op.axis is None else op.axis
    if min(axes) < 2:
        return None
    return op(graph.by_example(node.inputs[0])), True


@after_exchange.register(LogSumExp)
def log_sum_exp(op: LogSumExp, node: Apply, graph: Graph) -> Found | None:
    """Reduce over other axes than those that are exchanged."""
    return softmax(op, node, graph)


@after_exchange.register(SpecifyShape)
def specify_shape(op: SpecifyShape, node: Apply, graph: Graph) -> Found:
    """Exchange the lengths."""
    x, first, second, *rest = node.inputs
    return op(graph.by_example(x), second, first, *rest), True
