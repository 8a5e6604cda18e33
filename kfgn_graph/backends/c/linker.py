"""PyTensor's C linker with parallel compilation and early release of memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytensor.graph.basic import Variable
from pytensor.link.vm import VMLinker

from kfgn_graph.backends.c.blas_flags import blas_configured
from kfgn_graph.backends.c.compilation import compile_missing
from kfgn_graph.backends.rewrites.branch_conditions import conditions_of_nodes, freed_after


class ParallelCLinker(VMLinker):
    """PyTensor's virtual machine; C modules are compiled in parallel.

    A value that is only used by a branch is freed when another branch is taken.
    """

    def make_all(self, *args: Any, **kwargs: Any) -> Any:
        """Compile the modules that are missing in the cache, and link."""
        with blas_configured():
            compile_missing(self.fgraph.apply_nodes)
            return super().make_all(*args, **kwargs)

    def compute_gc_dependencies(
        self, variables: Iterable[Variable]
    ) -> dict[Variable, list[Variable]]:
        """Return for each variable those that have to be evaluated before it is freed."""
        conditions = conditions_of_nodes(self.fgraph)
        return {v: freed_after(self.fgraph, v, conditions) if v.owner else [] for v in variables}
