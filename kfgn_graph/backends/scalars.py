"""Long scalar expressions for C by scalar Ops, whose code grows with the expression alone.

PyTensor fuses what is computed of single numbers into elementwise Ops with dozens of operands, and
the C of such an Op has loops and checks for every operand: of lambda, gamma, the quadratic model
and the statistics half a megabyte, which takes g++ longer than everything else together takes it
per Op. Modes that include :data:`SCALAR_EXPRESSIONS` compute them as numbers.
"""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.basic import scalar_from_tensor, tensor_from_scalar
from pytensor.tensor.elemwise import Elemwise

#: The tag of the rewrite, for ``Mode.including``.
SCALAR_EXPRESSIONS = "kfgn_scalar_expressions"

#: After elementwise Ops are fused.
AFTER_FUSION = 49.2

#: Operands and results from which on an Op of numbers is long.
LONG = 12


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
    SCALAR_EXPRESSIONS,
    dfs_rewriter(scalar_expression, ignore_newtrees=True),
    position=AFTER_FUSION,
)
