"""Example-axis rules of PyTensor's Ops, except indexing and reshaping."""

from __future__ import annotations

from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar import Add, Cast, Identity, Mul, Neg, Second, Sub, TrueDiv
from pytensor.tensor.basic import Join
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.math import Dot, Sum
from pytensor.tensor.shape import SpecifyShape
from pytensor.tensor.special import LogSoftmax, LogSumExp, Softmax

from kfgn_graph.layers.examples import (
    FLATTENED,
    SUMMED,
    Axes,
    Mixes,
    common_state,
    example_axes,
    unmixed_state,
)
from kfgn_graph.layers.ir import Affine, Lookup, NetworkOutput
from kfgn_graph.printing import describe

LINEAR = (Add, Sub, Neg, Cast, Identity, Second)


@example_axes.register(Affine)
def example_axes_affine(op: Affine, node: Apply, axes: Axes) -> int:
    """Keep the example axes of the first input; refuse to contract one."""
    (a,) = node.inputs[:1]
    state = unmixed_state(node, {a: axes[a]})
    if state >= a.type.ndim:
        raise Mixes(f"{op} contracts the examples of {describe(a)}")
    return state


@example_axes.register(Lookup)
def example_axes_lookup(op: Lookup, node: Apply, axes: Axes) -> int:
    """Return the example axes of the index."""
    return unmixed_state(node, {v: axes[v] for v in node.inputs[:1]})


@example_axes.register(NetworkOutput)
def example_axes_network_output(op: Op, node: Apply, axes: Axes) -> int:
    """Return the example axes of the input."""
    return unmixed_state(node, axes)


@example_axes.register(CheckAndRaise)
def example_axes_check(op: CheckAndRaise, node: Apply, axes: Axes) -> int:
    """Return the state of the value that is checked and passed on."""
    return common_state(node, {v: axes[v] for v in node.inputs[:1]})


@example_axes.register(SpecifyShape)
def example_axes_specify_shape(op: Op, node: Apply, axes: Axes) -> int:
    """Return the state of the inputs."""
    return common_state(node, axes)


@example_axes.register(Elemwise)
def example_axes_elemwise(op: Elemwise, node: Apply, axes: Axes) -> int:
    """Keep the example axes; refuse nonlinear functions of sums over examples."""
    state = common_state(node, axes)
    if state == SUMMED:
        return _linear_in_sums(op, node, axes)
    out = node.outputs[0].type.broadcastable
    for v in node.inputs:
        if v in axes and v.type.broadcastable[: max(state, 1)] != out[: max(state, 1)]:
            raise Mixes(f"{op} broadcasts {describe(v)} over the examples")
    return state


def _linear_in_sums(op: Elemwise, node: Apply, axes: Axes) -> int:
    """Return SUMMED if the operation is linear in the sums over examples that it reads."""
    varying = [v in axes for v in node.inputs]
    linear = isinstance(op.scalar_op, LINEAR)
    linear |= isinstance(op.scalar_op, Mul) and sum(varying) == 1
    linear |= isinstance(op.scalar_op, TrueDiv) and varying == [True, False]
    if not linear:
        return unmixed_state(node, axes)
    return SUMMED


@example_axes.register(DimShuffle)
def example_axes_dimshuffle(op: DimShuffle, node: Apply, axes: Axes) -> int:
    """Keep the example axes, which must remain the leading axes."""
    state = common_state(node, axes)
    if state == FLATTENED:
        return unmixed_state(node, axes)
    if op.new_order[:state] != tuple(range(state)):
        raise Mixes(f"{op} moves the examples away from the leading axis")
    return state


@example_axes.register(CAReduce)
def example_axes_reduction(op: CAReduce, node: Apply, axes: Axes) -> int:
    """Keep the example axes, or return SUMMED for a sum over them."""
    state = common_state(node, axes)
    reduced = range(node.inputs[0].type.ndim) if op.axis is None else op.axis
    if state == FLATTENED:
        return SUMMED if isinstance(op, Sum) else unmixed_state(node, axes)
    if all(axis >= state for axis in reduced):
        return unmixed_state(node, axes) if state == SUMMED and not isinstance(op, Sum) else state
    if not isinstance(op, Sum):
        raise Mixes(f"{op} reduces over the examples, in {describe(node.outputs[0])}")
    return SUMMED


@example_axes.register(Softmax)
@example_axes.register(LogSoftmax)
@example_axes.register(LogSumExp)
def example_axes_softmax(op: Softmax, node: Apply, axes: Axes) -> int:
    """Keep the example axes; refuse a normalisation over them."""
    state = unmixed_state(node, axes)
    over = range(node.inputs[0].type.ndim) if op.axis is None else op.axis
    if any(axis < state for axis in over):
        raise Mixes(f"{op} normalises over the examples")
    return state


@example_axes.register(Dot)
def example_axes_dot(op: Dot, node: Apply, axes: Axes) -> int:
    """Keep the example axes of the left operand; refuse a varying right operand."""
    if node.inputs[1] in axes:
        raise Mixes(f"{op} contracts the examples of {describe(node.inputs[1])}")
    return unmixed_state(node, axes)


@example_axes.register(Blockwise)
def example_axes_blockwise(op: Blockwise, node: Apply, axes: Axes) -> int:
    """Keep the example axes if they are batch axes of every varying operand."""
    state = unmixed_state(node, axes)
    for v, core in zip(node.inputs, op.inputs_sig, strict=True):
        n_batch = v.type.ndim - len(core)
        if v in axes and (n_batch < state or any(v.type.broadcastable[:state])):
            raise Mixes(f"{op} operates across the examples of {describe(v)}")
    return state


@example_axes.register(Join)
def example_axes_join(op: Join, node: Apply, axes: Axes) -> int:
    """Keep the example axes; refuse to join along them."""
    state = unmixed_state(node, axes)
    axis = op.axis % node.outputs[0].type.ndim
    if axis < state:
        raise Mixes(f"{op} joins variables along an example axis")
    return state
