"""A Numba linker that compiles a graph kernel by kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.link.numba.linker import NumbaLinker


class ProgramLinker(NumbaLinker):
    """A Numba linker whose functions are programs of ours.

    PyTensor's has a function for every lazy branch and one for the whole, and calls that, to cache
    it on disk, from another.
    """

    def fgraph_convert(self, fgraph: FunctionGraph, *, order: Sequence[Apply], **_: Any) -> Any:
        """Return the function of a graph."""
        from kfgn_graph.backends.numba.codegen import program_of

        return program_of(fgraph, order)

    def jit_compile(self, function: Callable[..., Any]) -> Any:
        """Return the function: Numba compiles it, or its kernels, when it is first called."""
        return function
