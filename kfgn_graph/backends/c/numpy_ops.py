"""Ops that the C backend evaluates by NumPy or Python, so that fewer C modules are compiled.

The C compiler takes about half a second for each kind of node. In a large graph, views, joins and
scalar arithmetic take no noticeable time by NumPy. In a small graph C evaluates them.
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
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.scalar.basic import ScalarOp
from pytensor.tensor.elemwise import DimShuffle, Elemwise

from kfgn_graph.backends.rewrites.accumulation import LATE
from kfgn_graph.backends.rewrites.graph_size import LargeGraphRewriter
from kfgn_graph.backends.rewrites.scalar_source import NUMPY_OPS, python_function

#: The tag of the rewrites, for ``Mode.including``.
BY_NUMPY = "kfgn_by_numpy"

#: Position: after elementwise Ops are fused.
AFTER_FUSION = 49.2


class PythonScalarOp(Op):
    """A scalar Op of 0-d arrays, evaluated by a Python function.

    Parameters
    ----------
    scalar_op : ScalarOp
        The scalar Op.
    function : callable
        Evaluates it for NumPy scalars.
    """

    __props__ = ("scalar_op",)

    def __init__(self, scalar_op: ScalarOp, function: Callable[..., Any]) -> None:
        self.scalar_op, self._function = scalar_op, function

    def make_node(self, *inputs: Variable) -> Apply:
        """Return the node."""
        outputs = Elemwise(self.scalar_op).make_node(*inputs).outputs
        return Apply(self, inputs, [v.type() for v in outputs])

    def perform(self, node: Apply, inputs: Any, storages: Any) -> None:
        """Call the function."""
        with np.errstate(all="ignore"):
            results = self._function(*[x[()] for x in inputs])
        if len(storages) == 1:
            results = (results,)
        for storage, result in zip(storages, results, strict=True):
            storage[0] = np.asarray(result)


class PerformOp(Op):
    """Another Op without its C code.

    Parameters
    ----------
    op : Op
        The other Op.
    """

    __props__ = ("op",)

    def __init__(self, op: Op) -> None:
        self.op, self.view_map, self.destroy_map = op, op.view_map, op.destroy_map

    def make_node(self, *inputs: Variable) -> Apply:
        """Return the node."""
        node = self.op.make_node(*inputs)
        return Apply(self, node.inputs, [v.type() for v in node.outputs])

    def perform(self, node: Apply, inputs: Any, storages: Any) -> None:
        """Call the other Op's ``perform``."""
        self.op.perform(node, inputs, storages)


@node_rewriter([Elemwise])
def scalars_by_python(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Replace an elementwise Op of 0-d arrays, if there is Python source for all of it."""
    if any(v.type.ndim for v in [*node.inputs, *node.outputs]):
        return None
    op, types = node.op.scalar_op, [v.type.to_scalar_type() for v in node.inputs]
    function = python_function(op, types)
    if function is None:
        return None
    return list(PythonScalarOp(op, function)(*node.inputs, return_list=True))


@node_rewriter([*NUMPY_OPS, DimShuffle, ViewOp])
def views_by_numpy(fgraph: FunctionGraph, node: Apply) -> list[Variable]:
    """Replace an Op by one without C code."""
    return list(PerformOp(node.op)(*node.inputs, return_list=True))


optdb.register(
    "kfgn_scalars_by_python",
    LargeGraphRewriter(scalars_by_python, ignore_newtrees=True),
    BY_NUMPY,
    position=AFTER_FUSION,
)
optdb.register(
    "kfgn_views_by_numpy",
    LargeGraphRewriter(views_by_numpy, ignore_newtrees=True),
    BY_NUMPY,
    position=LATE + 5,
)
