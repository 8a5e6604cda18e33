"""PyTensor's linker of C, with parallel compilation and early freeing of unused branches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytensor.graph.basic import Variable
from pytensor.link.vm import VMLinker

from kfgn_graph.backends.c.blas_flags import blas_configured
from kfgn_graph.backends.c.compilation import compile_missing
from kfgn_graph.backends.rewrites.branch_conditions import awaited, guards_of_nodes


class SideBySideLinker(VMLinker):
    """PyTensor's linker of C, with its modules compiled side by side.

    What only a branch that is not taken would read is freed once that is known.
    """

    def make_all(self, *args: Any, **kwargs: Any) -> Any:
        """Compile the modules that the cache does not have, and link."""
        with blas_configured():
            compile_missing(self.fgraph.apply_nodes)
            return super().make_all(*args, **kwargs)

    def compute_gc_dependencies(
        self, variables: Iterable[Variable]
    ) -> dict[Variable, list[Variable]]:
        """Return for each variable those that have to be computed before it is freed."""
        guards = guards_of_nodes(self.fgraph)
        return {v: awaited(self.fgraph, v, guards) if v.owner else [] for v in variables}
