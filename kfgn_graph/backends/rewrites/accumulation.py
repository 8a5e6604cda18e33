"""A rewrite for every function that PyTensor compiles with JAX, registered on import.

PyTensor adds float32 numbers up in float64, and its JAX reductions return that float64 where
their type says float32, so that one sum makes all that follows from it float64, solves
included. The registration is global, since an updates dictionary may be compiled by anyone.
"""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.elemwise import CAReduce
from pytensor.tensor.math import Prod, Sum

#: After PyTensor's own rewrites.
LATE = 99.0


@node_rewriter([CAReduce])
def accumulate_in_own_dtype(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Add up in the dtype of the result."""
    op, dtype = node.op, node.outputs[0].type.dtype
    if not isinstance(op, Sum | Prod) or op.acc_dtype in (None, dtype):
        return None
    return [type(op)(axis=op.axis, dtype=op.dtype, acc_dtype=dtype)(*node.inputs)]


optdb.register(
    "kfgn_accumulate_in_own_dtype", dfs_rewriter(accumulate_in_own_dtype), "jax", position=LATE
)
