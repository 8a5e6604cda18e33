"""Proof that a loss is a sum over examples, and how many leading axes enumerate them.

Every variable that varies with the parameters gets its *example axes*: the number of
leading axes that enumerate the examples, or :data:`SUMMED` once the loss has been summed
over them. Each Op either carries the examples along without mixing them, which its rule
must prove, or the loss is not a batch loss. A new Op is taught by::

    @example_axes.register(MyOp)
    def example_axes_MyOp(op, node, axes): ...
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch

from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import toposort
from pytensor.scalar import Add, Cast, Identity, Mul, Neg, Second, Sub, TrueDiv
from pytensor.tensor.basic import ARange, Join, MakeVector, constant
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.math import Dot, Sum
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, Shape, SpecifyShape
from pytensor.tensor.special import LogSoftmax, LogSumExp, Softmax
from pytensor.tensor.subtensor import AdvancedSubtensor, Subtensor, indices_from_subtensor

from kfgn_graph.errors import NotABatchLossError
from kfgn_graph.layers.ir import Affine, NetworkOutput
from kfgn_graph.layers.traversal import dependents
from kfgn_graph.printing import describe

#: State of a variable that is already a sum over the examples.
SUMMED = 0
#: State of a flattened variable, whose one axis enumerates (example, output) pairs.
FLATTENED = -1

LINEAR = (Add, Sub, Neg, Cast, Identity, Second)
Axes = Mapping[Variable, int]
Rule = Callable[..., int]


class Mixes(Exception):
    """Raised by a rule that cannot prove that its Op keeps the examples apart."""


def count_example_axes(loss: Variable, affine_nodes: Sequence[Apply]) -> dict[Variable, int]:
    """Return the number of example axes of every variable that varies with the layers.

    The largest number of leading axes that no Op mixes is taken: (N, T, d) data whose
    loss treats each of the N T rows alike have two, so that all rows count as examples.

    Raises
    ------
    NotABatchLossError
        If not even the first axis can be shown to enumerate examples that do not mix.
    """
    most = max(node.inputs[0].type.ndim - 1 for node in affine_nodes)
    for n_axes in range(most, 0, -1):
        try:
            return _propagate(loss, affine_nodes, n_axes)
        except Mixes as failure:
            reason = failure
    raise NotABatchLossError(
        f"the loss {describe(loss)} is not shown to be a sum (or mean) over examples along the "
        f"leading axis: {reason}. Curvature is defined per example: remove batch statistics "
        "(such as batch normalisation) from what the parameters feed, keep examples on the "
        "leading axis, or teach a new Op with kfgn_graph.register_example_axes."
    )


def _propagate(loss: Variable, affine_nodes: Sequence[Apply], n_axes: int) -> dict[Variable, int]:
    varying = dependents([loss], [node.outputs[0] for node in affine_nodes])
    axes: dict[Variable, int] = {}
    for node in affine_nodes:
        axes.setdefault(node.inputs[0], min(n_axes, node.inputs[0].type.ndim - 1))
    for node in toposort([loss]):
        outputs = [v for v in node.outputs if v in varying]
        if outputs:
            found = example_axes(node.op, node, axes)
            axes.update(dict.fromkeys(outputs, found))
    if axes[loss] != SUMMED:
        raise Mixes("it is never summed over the examples")
    return axes


def _same(node: Apply, axes: Axes) -> int:
    """Return the common state of the inputs that vary."""
    states = {axes[v] for v in node.inputs if v in axes}
    if len(states) != 1:
        raise Mixes(
            f"{node.op} combines examples with a sum over examples, in {describe(node.outputs[0])}"
        )
    return states.pop()


def _unmixed(node: Apply, axes: Axes) -> int:
    """Return that common state, in which examples must still be apart."""
    state = _same(node, axes)
    if state == SUMMED:
        raise Mixes(
            f"{node.op} is not linear, but reads a sum over examples, in "
            f"{describe(node.outputs[0])}"
        )
    if state == FLATTENED:
        raise Mixes(f"{node.op} reads examples and outputs flattened together")
    return state


@singledispatch
def example_axes(op: Op, node: Apply, axes: Axes) -> int:
    """Return the number of example axes of ``node``'s outputs, or :data:`SUMMED`.

    Parameters
    ----------
    op, node
        The Op, on whose type the rule is chosen, and its Apply node.
    axes
        The states of the varying inputs; an input that is missing does not vary.

    Raises
    ------
    Mixes
        If the Op may mix examples.
    """
    raise Mixes(f"no rule shows that {op} keeps examples apart, in {describe(node.outputs[0])}")


@example_axes.register(Affine)
@example_axes.register(NetworkOutput)
def example_axes_affine(op: Op, node: Apply, axes: Axes) -> int:
    """Keep the rows of the input."""
    return _unmixed(node, {v: axes[v] for v in node.inputs[:1]})


@example_axes.register(SpecifyShape)
def example_axes_specify_shape(op: Op, node: Apply, axes: Axes) -> int:
    """Keep the state."""
    return _same(node, axes)


@example_axes.register(Elemwise)
def example_axes_elemwise(op: Elemwise, node: Apply, axes: Axes) -> int:
    """Keep examples apart entry by entry, or a sum in a linear operation."""
    state = _same(node, axes)
    if state == SUMMED:
        return _linear_in_sums(op, node, axes)
    out = node.outputs[0].type.broadcastable
    for v in node.inputs:
        if v in axes and v.type.broadcastable[: max(state, 1)] != out[: max(state, 1)]:
            raise Mixes(f"{op} repeats {describe(v)} for every example")
    return state


def _linear_in_sums(op: Elemwise, node: Apply, axes: Axes) -> int:
    varying = [v in axes for v in node.inputs]
    linear = isinstance(op.scalar_op, LINEAR)
    linear |= isinstance(op.scalar_op, Mul) and sum(varying) == 1
    linear |= isinstance(op.scalar_op, TrueDiv) and varying == [True, False]
    if not linear:
        return _unmixed(node, axes)
    return SUMMED


@example_axes.register(DimShuffle)
def example_axes_dimshuffle(op: DimShuffle, node: Apply, axes: Axes) -> int:
    """Keep the example axes, which must stay in front."""
    state = _same(node, axes)
    if state == FLATTENED:
        return _unmixed(node, axes)
    if op.new_order[:state] != tuple(range(state)):
        raise Mixes(f"{op} moves the examples away from the leading axis")
    return state


@example_axes.register(CAReduce)
def example_axes_reduction(op: CAReduce, node: Apply, axes: Axes) -> int:
    """Keep the example axes, unless a sum runs over them."""
    state = _same(node, axes)
    reduced = range(node.inputs[0].type.ndim) if op.axis is None else op.axis
    if state == FLATTENED:
        return SUMMED if isinstance(op, Sum) else _unmixed(node, axes)
    if all(axis >= state for axis in reduced):
        return _unmixed(node, axes) if state == SUMMED and not isinstance(op, Sum) else state
    if not isinstance(op, Sum):
        raise Mixes(f"{op} reduces over the examples, in {describe(node.outputs[0])}")
    return SUMMED


@example_axes.register(Softmax)
@example_axes.register(LogSoftmax)
@example_axes.register(LogSumExp)
def example_axes_softmax(op: Softmax, node: Apply, axes: Axes) -> int:
    """Keep the example axes, over which nothing may be normalised."""
    state = _unmixed(node, axes)
    over = range(node.inputs[0].type.ndim) if op.axis is None else op.axis
    if any(axis < state for axis in over):
        raise Mixes(f"{op} normalises over the examples")
    return state


@example_axes.register(Dot)
def example_axes_dot(op: Dot, node: Apply, axes: Axes) -> int:
    """Keep the rows of the left operand."""
    if node.inputs[1] in axes:
        raise Mixes(f"{op} contracts the examples of {describe(node.inputs[1])}")
    return _unmixed(node, axes)


@example_axes.register(Blockwise)
def example_axes_blockwise(op: Blockwise, node: Apply, axes: Axes) -> int:
    """Keep the example axes where they are batch axes of every varying operand."""
    state = _unmixed(node, axes)
    for v, core in zip(node.inputs, op.inputs_sig, strict=True):
        n_batch = v.type.ndim - len(core)
        if v in axes and (n_batch < state or any(v.type.broadcastable[:state])):
            raise Mixes(f"{op} works across the examples of {describe(v)}")
    return state


@example_axes.register(Join)
def example_axes_join(op: Join, node: Apply, axes: Axes) -> int:
    """Keep the example axes, along which nothing may be joined."""
    state = _unmixed(node, axes)
    axis = op.axis % node.outputs[0].type.ndim
    if axis < state:
        raise Mixes(f"{op} joins examples along the leading axes")
    return state


@example_axes.register(Subtensor)
def example_axes_subtensor(op: Subtensor, node: Apply, axes: Axes) -> int:
    """Keep the example axes, along which all must be taken."""
    state = _unmixed(node, axes)
    indices = indices_from_subtensor(node.inputs[1:], op.idx_list)
    if any(index != slice(None) for index in indices[:state]):
        raise Mixes(f"{op} picks some examples out of {describe(node.inputs[0])}")
    return state


@example_axes.register(AdvancedSubtensor)
def example_axes_advanced_subtensor(op: AdvancedSubtensor, node: Apply, axes: Axes) -> int:
    """Accept ``x[arange(N), label]`` and its broadcast forms: one entry, or more, per example."""
    state = _unmixed(node, axes)
    indices = indices_from_subtensor(node.inputs[1:], op.idx_list)
    for axis, index in enumerate(indices[:state]):
        if index == slice(None):
            continue
        if isinstance(index, slice) or not _counts_along(index, axis, state):
            raise Mixes(f"{op} picks entries across the examples of {describe(node.inputs[0])}")
    return state


def _counts_along(index: Variable, axis: int, n_axes: int) -> bool:
    """Whether ``index`` is ``arange(n)``, laid along ``axis`` of the picked result."""
    position = 0
    while index.owner is not None and isinstance(index.owner.op, DimShuffle):
        if index.owner.inputs[0].type.ndim != 1:
            return False
        position = index.owner.op.new_order.index(0)
        index = index.owner.inputs[0]
    counted = index.owner is not None and isinstance(index.owner.op, ARange)
    constant = isinstance(index, Constant) and list(index.data) == list(range(len(index.data)))
    return (counted or constant) and position == axis < n_axes


@example_axes.register(JoinDims)
@example_axes.register(SplitDims)
@example_axes.register(Reshape)
def example_axes_reshape(op: Op, node: Apply, axes: Axes) -> int:
    """Either the example axes stay, or the other axes stay and the rest enumerates examples."""
    x, y = node.inputs[0], node.outputs[0]
    state = _unmixed(node, {x: axes[x]})
    sizes = _target_sizes(node)
    if _leads_with_rest(sizes, x) and state == 1:
        return state
    if len(sizes) >= state and all(_is_example_size(sizes[k], k, x, axes) for k in range(state)):
        return state
    n_features = x.type.ndim - state
    kept = len(sizes) - n_features
    if kept >= 1 and all(_same_size(sizes[kept + k], x, state + k) for k in range(n_features)):
        return kept
    if y.type.ndim == 1:
        return FLATTENED
    raise Mixes(f"{op} is not shown to keep examples apart, in {describe(y)}")


def _target_sizes(node: Apply) -> list[int | Variable | None]:
    """Return the sizes of the result's axes: static where known, else symbolic, else None."""
    y = node.outputs[0]
    symbolic: list[Variable | None] = [None] * y.type.ndim
    if isinstance(node.op, Reshape):
        target = node.inputs[1].owner
        if target is not None and isinstance(target.op, MakeVector):
            symbolic = list(target.inputs)
        elif isinstance(node.inputs[1], Constant):
            symbolic = [constant(size) for size in node.inputs[1].data]
    elif isinstance(node.op, JoinDims):
        op, x = node.op, node.inputs[0]
        lengths = [x.shape[k] for k in range(x.type.ndim)]
        symbolic = [*lengths[: op.start_axis], None, *lengths[op.start_axis + op.n_axes :]]
    return [s if s is not None else v for s, v in zip(y.type.shape, symbolic, strict=True)]


def _length_of(size: Variable) -> tuple[Variable, int] | None:
    """Return (variable, axis) if ``size`` is the symbolic length of that axis."""
    while size.owner is not None and isinstance(size.owner.op, Elemwise | DimShuffle):
        if isinstance(size.owner.op, Elemwise) and not isinstance(size.owner.op.scalar_op, Cast):
            return None
        size = size.owner.inputs[0]
    node = size.owner
    if node is None or not isinstance(node.op, Subtensor):
        return None
    shape = node.inputs[0].owner
    indices = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    if shape is None or not isinstance(shape.op, Shape) or not isinstance(indices[0], Constant):
        return None
    return shape.inputs[0], int(indices[0].data)


def _same_size(size: int | Variable | None, x: Variable, axis: int) -> bool:
    if not isinstance(size, Variable):
        return size is not None and size == x.type.shape[axis]
    return _length_of(size) == (x, axis)


def _is_example_size(size: int | Variable | None, axis: int, x: Variable, axes: Axes) -> bool:
    """Whether ``size`` is the length of example axis ``axis``, of ``x`` or of another variable."""
    if not isinstance(size, Variable):
        return size is not None and size == x.type.shape[axis]
    found = _length_of(size)
    if found is None:
        return False
    variable, k = found
    return (variable, k) == (x, axis) or (k == axis < axes.get(variable, SUMMED))


def _leads_with_rest(sizes: list[int | Variable | None], x: Variable) -> bool:
    """Whether the target is (-1, ...) with as many numbers after it as an example of x has."""
    event, first = x.type.shape[1:], sizes[0]
    if not isinstance(first, Constant) or int(first.data) != -1 or None in event:
        return False
    known = [int(s.data) if isinstance(s, Constant) else s for s in sizes[1:]]
    after = [s for s in known if isinstance(s, int)]
    return len(after) == len(known) and math.prod(after) == math.prod(event)


def register_example_axes(
    *op_types: type[Op],
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register how some Op types carry examples along; used as a decorator.

    Parameters
    ----------
    *op_types : type
        The Op classes that the rule covers.

    Returns
    -------
    callable
        A decorator for ``rule(op, node, axes) -> int``; see :func:`example_axes`. The rule
        raises :class:`Mixes` where the Op may mix examples.
    """

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            example_axes.register(op_type, rule)
        return rule

    return register
