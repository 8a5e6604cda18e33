"""Minibatches that the loss itself takes from its data, by a number that is an input.

The number of rows of ``X[i * B : (i + 1) * B]`` is unknown where ``i`` is, and backends that
compile for fixed shapes cannot express the slice. There, the slices are computed before the
update and passed to it as inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.subtensor import Subtensor, indices_from_subtensor
from pytensor.tensor.type import TensorType

from kfgn_graph.layers.traversal import value_roots
from kfgn_graph.update.values import reads


def minibatches_of(
    outputs: Sequence[Variable], inputs: Sequence[Variable], parameters: Collection[Variable]
) -> dict[Variable, Variable]:
    """Return the slices of data whose bounds depend on values of inputs, with new variables.

    Parameters
    ----------
    outputs : sequence of Variable
        The loss, the random draws and the next values of shared variables.
    inputs : sequence of Variable
        The inputs of the update.
    parameters : collection of Variable
        The trained parameters, which the slices do not read.

    Returns
    -------
    dict
        From slices to variables with the same type and an unknown number of rows.
    """
    found = {}
    for node in toposort(outputs):
        if isinstance(node.op, Subtensor) and _is_of_unknown_length(node, inputs):
            out = node.outputs[0]
            if out.type.ndim and not reads(out, parameters):
                shape = (None, *out.type.shape[1:])
                name = out.name or node.inputs[0].name
                found[out] = TensorType(out.type.dtype, shape)(name=name)
    return found


def _is_of_unknown_length(node: Apply, inputs: Sequence[Variable]) -> bool:
    """Return whether the first index is a slice with a bound that depends on inputs' values."""
    first, *_ = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    if not isinstance(first, slice):
        return False
    bounds = [b for b in (first.start, first.stop, first.step) if isinstance(b, Variable)]
    return not value_roots(bounds).isdisjoint(inputs)
