"""Whether the graph of a loss may raise an error for some values of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from pytensor.graph.basic import Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import toposort
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import Elemwise

#: Modules whose Ops raise for shapes that do not fit, and for nothing else.
SAFE = (
    "pytensor.tensor.basic",
    "pytensor.tensor.blas",
    "pytensor.tensor.elemwise",
    "pytensor.tensor.math",
    "pytensor.tensor.shape",
    "pytensor.tensor.special",
    "pytensor.tensor.subtensor",
    "kfgn_graph.",
)


def may_raise(loss: Variable, inputs: Sequence[Variable]) -> bool:
    """Return whether a graph may raise for a batch, after it did not for one of equal shapes.

    Scalars of integers may decide on shapes. Ops that check values, factorise, iterate or are not
    PyTensor's may raise for any reason.
    """
    decisive = any(v.type.ndim == 0 and v.type.dtype.startswith(("int", "uint")) for v in inputs)
    return decisive or not all(_is_safe(node.op) for node in toposort([loss]))


def _is_safe(op: Op) -> bool:
    if isinstance(op, Blockwise):
        return _is_safe(op.core_op)
    module = type(op).__module__
    if isinstance(op, Elemwise):
        return type(op.scalar_op).__module__.startswith("pytensor.scalar.")
    return module.startswith(SAFE)
