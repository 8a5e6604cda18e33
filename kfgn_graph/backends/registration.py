"""Rules of our Ops for Numba and JAX, loaded when a function that holds such an Op is compiled."""

from __future__ import annotations

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter

from kfgn_graph.linalg.averages import FactorAverage
from kfgn_graph.linalg.matrices import (
    RefreshedInverse,
    ShiftedInverse,
)
from kfgn_graph.linalg.newton_schulz import IteratedInverses

#: Before a lazy choice hides what its branches hold.
FIRST = 0.1


@node_rewriter([ShiftedInverse, RefreshedInverse, FactorAverage])
def numba_rules(fgraph: FunctionGraph, node: Apply) -> None:
    """Let Numba know our Ops wherever one of them is compiled."""
    import kfgn_graph.backends.numba.dispatch  # noqa: F401


@node_rewriter([ShiftedInverse, RefreshedInverse, IteratedInverses, FactorAverage])
def jax_rules(fgraph: FunctionGraph, node: Apply) -> None:
    """Let JAX know our Ops wherever one of them is compiled."""
    import kfgn_graph.backends.jax.dispatch  # noqa: F401


optdb.register("kfgn_numba_rules", dfs_rewriter(numba_rules), "numba", position=FIRST)


optdb.register("kfgn_jax_rules", dfs_rewriter(jax_rules), "jax", position=FIRST)
