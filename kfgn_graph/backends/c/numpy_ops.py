"""What C leaves to NumPy, so that g++ has less to compile.

Every kind of node is a module of half a second. In a large network views, joins and single numbers
take no time whoever computes them (:data:`LEFT_TO_NUMPY`). In a small one C computes them, long
expressions of single numbers by scalar Ops (:data:`SCALAR_EXPRESSIONS`): PyTensor fuses what is
computed of single numbers into elementwise Ops with dozens of operands, and the C of such an Op
has loops and checks for every operand: of lambda, gamma, the quadratic model and the statistics
half a megabyte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pytensor.compile.mode import optdb
from pytensor.compile.ops import ViewOp
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.scalar.basic import ScalarOp
from pytensor.tensor.basic import scalar_from_tensor, tensor_from_scalar
from pytensor.tensor.elemwise import DimShuffle, Elemwise

from kfgn_graph.backends.rewrites.accumulation import LATE
from kfgn_graph.backends.rewrites.network_size import InLargeNetworks
from kfgn_graph.backends.rewrites.scalar_source import AT_ONCE, python_function

#: The tags of the rewrites, for ``Mode.including``.
SCALAR_EXPRESSIONS, LEFT_TO_NUMPY = "kfgn_scalar_expressions", "kfgn_left_to_numpy"

#: After elementwise Ops are fused.
AFTER_FUSION = 49.2

#: Operands and results from which on an Op of numbers is long.
LONG = 12


class Numbers(Op):
    """A scalar Op of 0-d arrays, by Python's expressions of NumPy's numbers.

    Parameters
    ----------
    scalar_op : ScalarOp
        The other one.
    function : callable
        What computes it of numbers.
    """

    __props__ = ("scalar_op",)

    def __init__(self, scalar_op: ScalarOp, function: Callable[..., Any]) -> None:
        self.scalar_op, self._function = scalar_op, function

    def make_node(self, *inputs: Variable) -> Apply:
        """Make a node."""
        outputs = Elemwise(self.scalar_op).make_node(*inputs).outputs
        return Apply(self, inputs, [v.type() for v in outputs])

    def perform(self, node: Apply, inputs: Any, storages: Any) -> None:
        """Compute the numbers."""
        with np.errstate(all="ignore"):
            results = self._function(*[x[()] for x in inputs])
        if len(storages) == 1:
            results = (results,)
        for storage, result in zip(storages, results, strict=True):
            storage[0] = np.asarray(result)


class Performed(Op):
    """Another Op, of whose C code no use is made.

    Parameters
    ----------
    op : Op
        The other one.
    """

    __props__ = ("op",)

    def __init__(self, op: Op) -> None:
        self.op, self.view_map, self.destroy_map = op, op.view_map, op.destroy_map

    def make_node(self, *inputs: Variable) -> Apply:
        """Make a node."""
        node = self.op.make_node(*inputs)
        return Apply(self, node.inputs, [v.type() for v in node.outputs])

    def perform(self, node: Apply, inputs: Any, storages: Any) -> None:
        """Compute what the other computes."""
        self.op.perform(node, inputs, storages)


@node_rewriter([Elemwise])
def numbers_left_to_numpy(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Compute an elementwise Op of 0-d arrays by expressions, if all of it has some."""
    if any(v.type.ndim for v in [*node.inputs, *node.outputs]):
        return None
    op, types = node.op.scalar_op, [v.type.to_scalar_type() for v in node.inputs]
    function = python_function(op, types)
    if function is None:
        return None
    return list(Numbers(op, function)(*node.inputs, return_list=True))


@node_rewriter([*AT_ONCE, DimShuffle, ViewOp])
def left_to_numpy(fgraph: FunctionGraph, node: Apply) -> list[Variable]:
    """Compute a node by its Op's NumPy code."""
    return list(Performed(node.op)(*node.inputs, return_list=True))


@node_rewriter([Elemwise])
def scalar_expression(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Compute a long elementwise Op of 0-d arrays by its scalar Op."""
    operands = [*node.inputs, *node.outputs]
    if len(operands) < LONG or any(v.type.ndim for v in operands):
        return None
    inputs = [scalar_from_tensor(v) for v in node.inputs]
    outputs = node.op.scalar_op(*inputs, return_list=True)
    return [tensor_from_scalar(v) for v in outputs]


optdb.register(
    "kfgn_numbers_left_to_numpy",
    InLargeNetworks(numbers_left_to_numpy, ignore_newtrees=True),
    LEFT_TO_NUMPY,
    position=AFTER_FUSION,
)
optdb.register(
    SCALAR_EXPRESSIONS,
    dfs_rewriter(scalar_expression, ignore_newtrees=True),
    position=AFTER_FUSION + 0.05,
)
optdb.register(
    "kfgn_views_left_to_numpy",
    InLargeNetworks(left_to_numpy, ignore_newtrees=True),
    LEFT_TO_NUMPY,
    position=LATE + 5,
)
