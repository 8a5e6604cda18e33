"""Whether the graph of a loss may raise an error for some values of a batch.

Before such an update the old values of parameters and state are copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytensor.graph.basic import Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import toposort
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import Elemwise

#: Modules whose Ops raise for shapes that do not fit, and for nothing else.
SAFE = (
    "kfgn_graph.",
    "pytensor.scalar.",
    "pytensor.tensor.basic",
    "pytensor.tensor.blas",
    "pytensor.tensor.elemwise",
    "pytensor.tensor.math",
    "pytensor.tensor.shape",
    "pytensor.tensor.special",
    "pytensor.tensor.subtensor",
)
#: Packages whose Ops are compiled to operations of XLA, which do not raise.
BY_XLA = ("kfgn_graph.", "pytensor.", "pytensor_ml.")


def may_raise(loss: Variable, inputs: Sequence[Variable], by_xla: bool) -> bool:
    """Return whether a graph may raise for a batch, after it did not for one of equal shapes.

    Parameters
    ----------
    loss : Variable
        The loss.
    inputs : sequence of Variable
        The inputs. Scalars of integers among them may decide on shapes.
    by_xla : bool
        Whether the graph is compiled by XLA, for fixed shapes. Only the Ops of others may raise
        then, in a function that they call back.
    """
    if by_xla:
        return not known_ops(loss)
    decisive = any(v.type.ndim == 0 and v.type.dtype.startswith(("int", "uint")) for v in inputs)
    return decisive or not _all_of(loss, lambda op: _module(op).startswith(SAFE))


def known_ops(loss: Variable) -> bool:
    """Return whether all Ops of a graph are those of PyTensor, pytensor-ml and this package."""
    return _all_of(loss, lambda op: _module(op).startswith(BY_XLA))


def _all_of(loss: Variable, holds: Callable[[Op], bool]) -> bool:
    return all(holds(node.op) for node in toposort([loss]))


def _module(op: Op) -> str:
    """Return the module of an Op, or of the Op that it applies to each element."""
    if isinstance(op, Blockwise):
        return _module(op.core_op)
    return type(op.scalar_op if isinstance(op, Elemwise) else op).__module__
