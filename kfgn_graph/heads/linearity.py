"""Tests of how a loss depends on intermediate variables: linear, piecewise linear or curved."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import toposort
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar import (
    Abs,
    Add,
    Cast,
    Clip,
    Identity,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Second,
    Sub,
    Switch,
    TrueDiv,
)
from pytensor.tensor.basic import Alloc, Join, MakeVector, Split
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot, Max, Min, Sum
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, Shape, Shape_i, SpecifyShape
from pytensor.tensor.subtensor import (
    AdvancedIncSubtensor,
    AdvancedSubtensor,
    IncSubtensor,
    Subtensor,
)
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.dtypes import is_float
from kfgn_graph.layers.ir import NetworkOutput

#: Ops that are linear in their first input, the others given.
LINEAR_OPS = (
    CheckAndRaise,
    Sum,
    DimShuffle,
    Reshape,
    JoinDims,
    SplitDims,
    SpecifyShape,
    Subtensor,
    AdvancedSubtensor,
    Split,
    Alloc,
    NetworkOutput,
)
#: Ops that are linear in all their real-valued inputs together.
JOINTLY_LINEAR_OPS = (Join, MakeVector, IncSubtensor, AdvancedIncSubtensor)
LINEAR_SCALARS = (Add, Sub, Neg, Cast, Identity, Second)
PIECEWISE_SCALARS = (Abs, Maximum, Minimum)


class Dependence(IntEnum):
    """How a loss depends on intermediate variables, in order of increasing curvature."""

    LINEAR = 0
    PIECEWISE_LINEAR = 1
    CURVED = 2


def is_linear(loss: TensorVariable, sources: Sequence[Variable]) -> bool:
    """Return whether every path from ``sources`` to ``loss`` consists of linear Ops only."""
    return dependence(loss, sources) is Dependence.LINEAR


def dependence(loss: TensorVariable, sources: Sequence[Variable]) -> Dependence | None:
    """Return how ``loss`` depends on ``sources``, or None if it has no gradient in them.

    A loss of the class ``LINEAR`` or ``PIECEWISE_LINEAR`` has no second derivative in the sources
    wherever its first one exists. One of the class ``CURVED`` may have one.
    """
    varying, touched = set(sources), set(sources)
    found = Dependence.LINEAR
    for node in toposort([loss]):
        if any(v in sources for v in node.outputs) or isinstance(node.op, Shape | Shape_i):
            continue
        if not any(v in touched for v in node.inputs):
            continue
        touched.update(node.outputs)
        if is_float(node.outputs[0]) and any(v in varying for v in node.inputs):
            found = max(found, _dependence_of(node, varying, touched))
            varying.update(node.outputs)
    return found if loss in varying else None


def _dependence_of(node: Apply, varying: set[Variable], touched: set[Variable]) -> Dependence:
    """Return how a node depends on its varying inputs.

    A condition or an index that itself depends on the sources (``touched``, not ``varying``)
    chooses among pieces.
    """
    reads = [v in varying for v in node.inputs]
    chosen = any(v in touched and v not in varying for v in node.inputs)
    if is_linear_node(node, reads):
        return Dependence.PIECEWISE_LINEAR if chosen else Dependence.LINEAR
    return Dependence.PIECEWISE_LINEAR if _is_piecewise(node, reads) else Dependence.CURVED


def is_linear_node(node: Apply, reads: list[bool]) -> bool:
    """Return whether a node is linear in the inputs that vary, together, the others given."""
    op = node.op.core_op if isinstance(node.op, Blockwise) else node.op
    if isinstance(op, LINEAR_OPS):
        return not any(reads[1:])
    if isinstance(op, JOINTLY_LINEAR_OPS):
        return True
    if isinstance(op, Dot):
        return sum(reads) == 1
    if not isinstance(op, Elemwise):
        return False
    if isinstance(op.scalar_op, LINEAR_SCALARS):
        return True
    if isinstance(op.scalar_op, Switch):
        return not reads[0]
    if isinstance(op.scalar_op, Mul):
        return sum(reads) == 1
    return isinstance(op.scalar_op, TrueDiv) and reads == [True, False]


def _is_piecewise(node: Apply, reads: list[bool]) -> bool:
    """Return whether the node is piecewise linear in its varying inputs."""
    if isinstance(node.op, Max | Min):
        return True
    if not isinstance(node.op, Elemwise):
        return False
    return isinstance(node.op.scalar_op, (*PIECEWISE_SCALARS, Clip, Switch))
