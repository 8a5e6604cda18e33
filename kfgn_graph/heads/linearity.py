"""The test whether a loss is linear in intermediate variables."""

from __future__ import annotations

from collections.abc import Sequence

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import ancestors, toposort
from pytensor.scalar import Add, Cast, Identity, Mul, Neg, Sub, Switch, TrueDiv
from pytensor.tensor.basic import Join, Split
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Sum
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, SpecifyShape
from pytensor.tensor.subtensor import AdvancedSubtensor, Subtensor
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.dtypes import is_float

LINEAR_OPS = (
    Sum,
    DimShuffle,
    Reshape,
    JoinDims,
    SplitDims,
    SpecifyShape,
    Subtensor,
    AdvancedSubtensor,
    Join,
    Split,
)


def is_linear(loss: TensorVariable, sources: Sequence[Variable]) -> bool:
    """Return whether every path from ``sources`` to ``loss`` consists of linear Ops only."""
    varying = set(sources)
    for node in toposort([loss]):
        if any(v in sources for v in node.outputs) or not any(v in varying for v in node.inputs):
            continue
        if not is_float(node.outputs[0]):
            continue
        if not _linear_node(node, varying):
            return False
        varying.update(node.outputs)
    return loss in varying


def _linear_node(node: Apply, varying: set[Variable]) -> bool:
    reads = [v in varying for v in node.inputs]
    if isinstance(node.op, LINEAR_OPS):
        return not any(reads[1:]) or isinstance(node.op, Join)
    if not isinstance(node.op, Elemwise):
        return False
    if isinstance(node.op.scalar_op, Add | Sub | Neg | Cast | Identity):
        return True
    if isinstance(node.op.scalar_op, Mul):
        return sum(reads) == 1
    if isinstance(node.op.scalar_op, Switch):
        return not varying.intersection(ancestors([node.inputs[0]]))
    return isinstance(node.op.scalar_op, TrueDiv) and reads == [True, False]
