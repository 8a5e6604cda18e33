"""Numba: PyTensor's mode for it, for any number of examples."""

from __future__ import annotations

from typing import Any

from pytensor import config
from pytensor.compile.mode import NUMBA, Mode
from pytensor.graph.fg import FunctionGraph
from pytensor.link.numba.linker import NumbaLinker

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.elementary import FAST_ELEMENTARY
from kfgn_graph.backends.symmetric import SYMMETRIC_PRODUCTS
from kfgn_graph.matrices import LOWERED_INVERSES


class OnceCompilingNumbaLinker(NumbaLinker):
    """A Numba linker that compiles the whole function once.

    PyTensor's caches on disk a function that calls the whole one, and so compiles all of it twice.
    """

    def fgraph_convert(self, fgraph: FunctionGraph, **kwargs: Any) -> Any:
        """Return the function of a graph, marked for the cache, and its key."""
        from pytensor.link.numba.cache import CACHED_SRC_FUNCTIONS
        from pytensor.link.numba.dispatch.basic import numba_funcify_and_cache_key

        if not config.numba__cache:
            return super().fgraph_convert(fgraph, **kwargs)
        function, key = numba_funcify_and_cache_key(fgraph, **kwargs)
        if key is not None:
            source = function.py_func
            # the entry's name starts with the source's file, which PyTensor makes anew each time
            source.__code__ = source.__code__.replace(co_filename="<kfgn_graph>")
            CACHED_SRC_FUNCTIONS[source] = f"{key}_fastmath{int(config.numba__fastmath)}"
        return function, key


class NumbaBackend(Backend):
    """PyTensor's Numba mode, with symmetric products by SYRK and inverses by POTRI."""

    name = "numba"
    static_batch = False

    def mode(self) -> Mode:
        import kfgn_graph.backends.numba_rules  # noqa: F401  registers them

        mode = Mode(OnceCompilingNumbaLinker(), NUMBA._optimizer)
        mode = mode.including(SYMMETRIC_PRODUCTS, FAST_ELEMENTARY)
        return mode.excluding(LOWERED_INVERSES)
