"""Proof that the rows of a variable are the examples of the batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import explicit_graph_inputs, toposort
from pytensor.tensor.shape import Shape, Shape_i
from pytensor.tensor.subtensor import AdvancedSubtensor, indices_from_subtensor
from pytensor.tensor.type import TensorType

from kfgn_graph.layers.examples import Axes, Mixes, example_axes

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
    inputs = [v for v in explicit_graph_inputs(outputs) if v.type.ndim > 0 and v not in shared]
    axes: dict[Variable, int] = dict.fromkeys(inputs, ONE_ROW_EACH)
    for node in toposort(outputs):
        if any(not isinstance(v.type, TensorType) for v in node.outputs):
            return False
        if isinstance(node.op, Shape | Shape_i) or not any(v in axes for v in node.inputs):
            continue
        if not _keeps_rows(node, axes):
            return False
        axes.update(dict.fromkeys(node.outputs, ONE_ROW_EACH))
    return all(v in axes for v in outputs)


def _keeps_rows(node: Apply, axes: Axes) -> bool:
    if _looks_up_rows(node, axes):
        return True
    try:
        return example_axes(node.op, node, axes) == ONE_ROW_EACH
    except Mixes:
        return False


def _looks_up_rows(node: Apply, axes: Axes) -> bool:
    """Return whether the node reads, by an index of the batch, a table's row for each example."""
    if not isinstance(node.op, AdvancedSubtensor) or node.inputs[0] in axes:
        return False
    first, *rest = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    return first in axes and all(index == slice(None) for index in rest)
