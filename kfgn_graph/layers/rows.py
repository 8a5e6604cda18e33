"""Proof that the rows of a variable are the examples of the batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytensor.graph.basic import Apply, Variable, equal_computations
from pytensor.graph.traversal import explicit_graph_inputs, toposort
from pytensor.tensor.basic import Alloc
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, Shape, Shape_i
from pytensor.tensor.subtensor import AdvancedSubtensor, indices_from_subtensor
from pytensor.tensor.type import TensorType

from kfgn_graph.layers.dtypes import has_axes
from kfgn_graph.layers.examples import Axes, Mixes, example_axes
from kfgn_graph.layers.traversal import value_roots

#: Ops that may change the number of rows.
RESHAPES = (Reshape, JoinDims, SplitDims)

#: The state of a variable whose leading axis alone enumerates examples.
ONE_ROW_EACH = 1


def rows_are_examples(outputs: Sequence[Variable], shared: Collection[Variable] = ()) -> bool:
    """Return whether row n of each output is made of row n of the batch inputs alone.

    The proof applies the example-axis rules from the batch inputs on. It fails for tokens that
    are flattened to rows, for permuted rows, for batch statistics and for random draws, in all of
    which the first rows of the output are not those of the first examples.

    Parameters
    ----------
    outputs : sequence of Variable
        Variables in the intermediate representation.
    shared : collection of Variable
        Inputs whose leading axis does not enumerate examples, such as a mask for all of them.
    """
    inputs = [v for v in explicit_graph_inputs(outputs) if has_axes(v) and v not in shared]
    axes: dict[Variable, int] = dict.fromkeys(inputs, ONE_ROW_EACH)
    for node in toposort(outputs):
        if any(not isinstance(v.type, TensorType) for v in node.outputs):
            return False
        if _has_as_many_rows(node, axes):
            axes.update(dict.fromkeys(node.outputs, ONE_ROW_EACH))
            continue
        if isinstance(node.op, Shape | Shape_i) or not any(v in axes for v in node.inputs):
            continue
        if not keeps_rows(node, axes):
            return False
        axes.update(dict.fromkeys(node.outputs, ONE_ROW_EACH))
    return all(v in axes for v in outputs)


def keeps_rows(node: Apply, axes: Axes) -> bool:
    """Return whether row n of a node's output is made of row n of its inputs in ``axes`` alone."""
    if _looks_up_rows(node, axes):
        return True
    try:
        return example_axes(node.op, node, axes) == ONE_ROW_EACH
    except Mixes:
        return False


def _has_as_many_rows(node: Apply, axes: Axes) -> bool:
    """Return whether the node repeats a value for each example, as for a first hidden state."""
    if not isinstance(node.op, Alloc) or len(node.inputs) < 2:
        return False
    value, rows = node.inputs[:2]
    if value.type.ndim == node.outputs[0].type.ndim and not value.type.broadcastable[0]:
        return False
    return any(equal_computations([rows], [v.shape[0]]) for v in axes)


def _looks_up_rows(node: Apply, axes: Axes) -> bool:
    """Return whether the node reads, by an index of the batch, a table's row for each example."""
    if not isinstance(node.op, AdvancedSubtensor) or node.inputs[0] in axes:
        return False
    first, *rest = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    return first in axes and all(index == slice(None) for index in rest)


def varies_by_example(node: Apply, v: Variable) -> bool:
    """Return whether an elementwise Op reads from v a value of each example, such as a target.

    The array may be a batch input, a shared variable or a constant. A bias or a scale, which is
    broadcast over the examples, has no such values.
    """
    if not isinstance(node.op, Elemwise) or v.type.ndim == 0 or v.type.broadcastable[0]:
        return False
    return any(not all(u.type.broadcastable) for u in value_roots([v]) if has_axes(u))


def have_same_rows(first: Variable, second: Variable, axes: Axes) -> bool:
    """Return whether the example axes of two variables are shown to have the same lengths.

    Tokens of shape (N T, d) and examples of shape (N, d) both have one example axis. They are
    told apart by the variable whose rows they inherit. Arrays that are shown to have a row for
    each example of the batch count as one.
    """
    if axes[first] != axes[second]:
        return False
    ones, others = _rows_from(first, axes), _rows_from(second, axes)
    if not ones.isdisjoint(others):
        return True
    return axes[first] == ONE_ROW_EACH and rows_are_examples([*ones, *others])


def _rows_from(v: Variable, axes: Axes) -> set[Variable]:
    """Return the variables that v inherits its example axes from, Op by Op."""
    found, pending, seen = set(), [v], {v}
    while pending:
        u = pending.pop()
        inherited = []
        if u.owner is not None and not isinstance(u.owner.op, RESHAPES):
            inherited = [w for w in u.owner.inputs if axes.get(w) == axes[v] and _as_long(w, u)]
        if not inherited:
            found.add(u)
        pending.extend(w for w in inherited if w not in seen)
        seen.update(inherited)
    return found


def _as_long(v: Variable, output: Variable) -> bool:
    """Return whether the rows of v are not repeated in an output."""
    return not v.type.broadcastable[0] or output.type.broadcastable[0]
