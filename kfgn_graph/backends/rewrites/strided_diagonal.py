"""A rewrite of the diagonal of a square matrix to a strided view.

It serves GPUs: XLA fuses a strided slice with its consumer there, whereas the gather that JAX uses
for a diagonal takes three kernels.
"""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.basic import ExtractDiag

from kfgn_graph.backends.rewrites.blas_op import BEFORE_BLAS

#: The tag of the rewrite, for ``Mode.including``.
STRIDED_DIAGONALS = "kfgn_strided_diagonals"


@node_rewriter([ExtractDiag])
def strided(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Replace the diagonal of a matrix of known size."""
    (A,), op = node.inputs, node.op
    n = A.type.shape[0]
    if A.type.ndim != 2 or op.offset != 0 or n is None or A.type.shape != (n, n):
        return None
    return [A.flatten()[:: n + 1]]


optdb.register("kfgn_strided", dfs_rewriter(strided), STRIDED_DIAGONALS, position=BEFORE_BLAS)
