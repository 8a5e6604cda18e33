"""Tokens flattened to rows: (N, T, d) reshaped to (N T, d) for some layers, and back.

Row n T + t belongs to example n, and the layers treat all rows alike. A row by itself cannot
show that. Therefore a reshape that flattens leading axes is moved outward, past every Op that
treats rows alike, until it meets the reshape that restores them, and both are dropped:
reshape(x) W is the reshape of x W.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import prod

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.traversal import toposort
from pytensor.tensor.basic import stack
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.reshape import JoinDims, SplitDims, join_dims
from pytensor.tensor.shape import Reshape, Shape, Shape_i, SpecifyShape, specify_shape
from pytensor.tensor.special import LogSoftmax, LogSumExp, Softmax
from pytensor.tensor.subtensor import Subtensor
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.entries import functions_of_parameters
from kfgn_graph.layers.ir import Affine, affine
from kfgn_graph.layers.lengths import are_equal, lengths_of, target_sizes
from kfgn_graph.layers.rewriting import with_patterns
from kfgn_graph.layers.rows import ONE_ROW_EACH, keeps_rows

RESHAPES = (Reshape, JoinDims, SplitDims)
#: Ops whose batched form PyTensor knows.
BATCHED = (DimShuffle, CAReduce, Softmax, LogSoftmax, LogSumExp, Subtensor)


@dataclass(frozen=True, eq=False)
class Unflattened:
    """A variable of rows with the axes that its rows are made of.

    Attributes
    ----------
    value : TensorVariable
        The variable with these axes: (N, T, d) for rows (N T, d).
    axes : int
        Their number.
    """

    value: TensorVariable
    axes: int

    @property
    def lengths(self) -> list[Variable | int]:
        """The lengths of the axes that the rows are made of."""
        return lengths_of(self.value)[: self.axes]

    def flat(self, like: Variable) -> TensorVariable:
        """Return the variable of rows, with what is known of the shape of ``like``."""
        rows = join_dims(self.value, 0, self.axes)
        rows.name = like.name
        return _specified(rows, like)


def with_unflattened_rows(
    loss: TensorVariable, trained: Collection[Variable]
) -> TensorVariable | None:
    """Return a loss in which reshapes to rows are moved outward; None if there are none.

    Parameters
    ----------
    loss : scalar TensorVariable
        A loss in the intermediate representation. Its graph is not changed.
    trained : collection of Variable
        The parameters to train.
    """
    fixed = functions_of_parameters(loss, trained)
    new: dict[Variable, Variable] = {}
    rows: dict[Variable, Unflattened] = {}
    for node in toposort([loss]):
        y = node.outputs[0]
        opened = None
        if len(node.outputs) == 1 and not isinstance(node.op, Shape_i):
            if any(v in rows for v in node.inputs):
                inputs = [new.get(v, v) for v in node.inputs]
                opened = _moved_past(node, inputs, rows)
            elif isinstance(node.op, RESHAPES) and node.inputs[0] not in fixed:
                opened = _flattening(node, new.get(node.inputs[0], node.inputs[0]))
        if isinstance(opened, Unflattened):
            rows[y], new[y] = opened, opened.flat(y)
        elif opened is not None:
            new[y] = opened
        elif any(v in new for v in node.inputs):
            copy = node.clone_with_new_inputs([new.get(v, v) for v in node.inputs], strict=False)
            for old, fresh in zip(node.outputs, copy.outputs, strict=True):
                fresh.name = old.name
                new[old] = fresh
    return with_patterns(new[loss], list(trained)) if rows else None


def _flattening(node: Apply, x: Variable) -> Unflattened | None:
    """Return what is flattened if a node reshapes several leading axes of x to rows."""
    y = node.outputs[0]
    if isinstance(node.op, JoinDims):
        op = node.op
        return Unflattened(x, op.n_axes) if op.start_axis == 0 and op.n_axes > 1 else None
    if not isinstance(node.op, Reshape) or y.type.ndim < 2:
        return None
    first, *rest = target_sizes(y)
    for lead in range(x.type.ndim - 1, 1, -1):
        if _same_number(x.type.shape[lead:], rest):
            same = x.type.shape[lead:] == tuple(rest)
            kept_axes = (*(x.shape[k] for k in range(lead)), *rest)
            return Unflattened(x if same else x.reshape(kept_axes), lead)
    lengths, lead = lengths_of(x), x.type.ndim - len(rest)
    if lead < 2:
        return None
    kept = len(rest) == 1 and are_equal(first, _product(lengths[:lead]))
    kept = kept or all(map(are_equal, rest, lengths[lead:]))
    return Unflattened(x, lead) if kept else None


def _same_number(features: Sequence[int | None], rest: Sequence[Variable | int]) -> bool:
    """Return whether the features of a row are known to be as many before and after."""
    before = [n for n in features if n is not None]
    after = [n for n in rest if isinstance(n, int)]
    known = len(before) == len(features) and len(after) == len(rest)
    return known and prod(before) == prod(after)


def _specified(v: TensorVariable, like: Variable) -> TensorVariable:
    """Return v with the static shape of another variable, where that says more."""
    return v if like.type.is_super(v.type) else specify_shape(v, like.type.shape)


def _product(lengths: Sequence[Variable | int]) -> Variable | int:
    total: Variable | int = 1
    for length in lengths:
        total = total * length
    return total


def _moved_past(
    node: Apply, inputs: Sequence[Variable], rows: dict[Variable, Unflattened]
) -> Unflattened | Variable | None:
    """Return the output of a node that reads rows: with their axes, or reshaped from them."""
    op, y = node.op, node.outputs[0]
    first = rows.get(node.inputs[0])
    if isinstance(op, Shape) and first is not None:
        lengths = lengths_of(first.value)
        return stack([_product(lengths[: first.axes]), *lengths[first.axes :]])
    if isinstance(op, RESHAPES):
        return None if first is None else _reshaped(node, first)
    if isinstance(op, Affine):
        if first is None or any(v in rows for v in node.inputs[1:]):
            return None
        return _named(affine(first.value, *inputs[1:]), y, first.axes)
    if isinstance(op, Elemwise):
        return _elementwise(node, inputs, rows)
    if first is None or any(v in rows for v in node.inputs[1:]):
        return None
    if not keeps_rows(node, {node.inputs[0]: ONE_ROW_EACH}):
        return None
    if isinstance(op, SpecifyShape):
        shape = (*first.value.type.shape[: first.axes], *y.type.shape[1:])
        return _named(specify_shape(first.value, shape), y, first.axes)
    if not isinstance(op, BATCHED):
        return None
    single = op.make_node(*(v.type() if k == 0 else v for k, v in enumerate(inputs))).out
    batched = vectorize_graph(single, {single.owner.inputs[0]: first.value})
    return _named(batched, y, first.axes)


def _named(value: Variable, like: Variable, axes: int) -> Unflattened:
    value.name = like.name
    return Unflattened(value, axes)


def _reshaped(node: Apply, x: Unflattened) -> Unflattened | Variable:
    """Return a reshape of rows: their axes restored or kept, or any other reshape."""
    y = node.outputs[0]
    sizes, features = target_sizes(y), lengths_of(x.value)[x.axes :]
    inferred = sizes[0] == -1 and are_equal(_product(sizes[1:]), _product(features))
    if inferred or keeps_rows(node, {node.inputs[0]: ONE_ROW_EACH}):
        lead = [x.value.shape[k] for k in range(x.axes)]
        return _named(x.value.reshape((*lead, *sizes[1:])), y, x.axes)
    lengths = [*x.lengths, *features]
    if len(sizes) == len(lengths) and _same_lengths(sizes, lengths):
        return _specified(x.value, y)
    if isinstance(node.op, Reshape):
        restored = node.op(x.value, node.inputs[1])
    else:
        restored = x.value.reshape([y.shape[k] for k in range(y.type.ndim)])
    restored.name = y.name
    return _specified(restored, y)


def _same_lengths(sizes: Sequence[Variable | int], lengths: Sequence[Variable | int]) -> bool:
    """Return whether a target shape, in which one length may be -1, is that of some lengths."""
    pairs = [(s, n) for s, n in zip(sizes, lengths, strict=True) if s != -1]
    return len(pairs) + 1 >= len(sizes) and all(are_equal(s, n) for s, n in pairs)


def _elementwise(
    node: Apply, inputs: Sequence[Variable], rows: dict[Variable, Unflattened]
) -> Unflattened | None:
    """Return an elementwise function of rows that have the same axes, and of broadcast values."""
    known = [rows[v] for v in node.inputs if v in rows]
    axes = known[0].axes
    for other in known[1:]:
        if other.axes != axes or not all(map(are_equal, other.lengths, known[0].lengths)):
            return None
    opened = []
    for v, now in zip(node.inputs, inputs, strict=True):
        if v in rows:
            opened.append(rows[v].value)
        elif v.type.broadcastable[0]:
            opened.append(now.dimshuffle(*["x"] * (axes - 1), *range(v.type.ndim)))
        else:
            return None
    return _named(node.op(*opened), node.outputs[0], axes)
