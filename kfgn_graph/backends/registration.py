"""Registration of the package's Ops with Numba and JAX.

PyTensor's dispatch for the Ops is imported when a function that contains one of them is compiled,
so that neither Numba nor JAX is imported otherwise.
"""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter

from kfgn_graph.linalg.averages import FactorAverage
from kfgn_graph.linalg.matrices import RefreshedInverse, ShiftedInverse
from kfgn_graph.linalg.newton_schulz import IteratedInverses

#: Position: before lazy branches become graphs of their own, which hide their Ops.
FIRST = 0.1


@node_rewriter([ShiftedInverse, RefreshedInverse, FactorAverage])
def import_numba_dispatch(fgraph: FunctionGraph, node: Apply) -> None:
    """Import the Numba implementations."""
    import kfgn_graph.backends.numba.dispatch  # noqa: F401  for its registration


@node_rewriter([ShiftedInverse, RefreshedInverse, IteratedInverses, FactorAverage])
def import_jax_dispatch(fgraph: FunctionGraph, node: Apply) -> None:
    """Import the JAX implementations."""
    import kfgn_graph.backends.jax.dispatch  # noqa: F401  for its registration


optdb.register("kfgn_numba_dispatch", dfs_rewriter(import_numba_dispatch), "numba", position=FIRST)
optdb.register("kfgn_jax_dispatch", dfs_rewriter(import_jax_dispatch), "jax", position=FIRST)
