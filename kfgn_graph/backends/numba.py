"""Numba: PyTensor's mode for it, for any number of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytensor import config
from pytensor.compile.mode import NUMBA, Mode
from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.link.numba.linker import NumbaLinker

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.elementary import FAST_ELEMENTARY
from kfgn_graph.backends.recomputing import LESS_KEPT
from kfgn_graph.backends.symmetric import SYMMETRIC_PRODUCTS


class OneProgramLinker(NumbaLinker):
    """A Numba linker that writes the whole graph as one function, and compiles that once.

    PyTensor's has a function for every lazy branch and one for the whole, and calls that, to cache
    it on disk, from another.
    """

    def fgraph_convert(self, fgraph: FunctionGraph, *, order: Sequence[Apply], **_: Any) -> Any:
        """Return the function of a graph, marked for the cache if it can be cached."""
        from kfgn_graph.backends.numba_source import program_of

        return program_of(fgraph, order)

    def jit_compile(self, function: Callable[..., Any]) -> Any:
        """Return the function, to be compiled by Numba when it is first called."""
        from pytensor.link.numba.cache import CACHED_SRC_FUNCTIONS
        from pytensor.link.numba.dispatch.basic import numba_njit

        cached = config.numba__cache and function in CACHED_SRC_FUNCTIONS
        return numba_njit(function, final_function=True, cache=cached)


class NumbaBackend(Backend):
    """PyTensor's Numba mode, with symmetric products by SYRK and inverses by POTRI."""

    name = "numba"
    static_batch = False

    def mode(self) -> Mode:
        import kfgn_graph.backends.numba_rules  # noqa: F401  registers them

        mode = Mode(OneProgramLinker(), NUMBA._optimizer)
        return mode.including(SYMMETRIC_PRODUCTS, FAST_ELEMENTARY, LESS_KEPT)
