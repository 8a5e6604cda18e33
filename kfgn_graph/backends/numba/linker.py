"""A Numba linker that compiles kernel by kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.link.numba.linker import NumbaLinker


class KernelLinker(NumbaLinker):
    """A Numba linker that compiles each kind of node separately.

    PyTensor's linker compiles the whole graph as one function, and each lazy branch as another.
    """

    def fgraph_convert(self, fgraph: FunctionGraph, *, order: Sequence[Apply], **_: Any) -> Any:
        """Return a Python function that evaluates a graph."""
        from kfgn_graph.backends.numba.codegen import function_of

        return function_of(fgraph, order)

    def jit_compile(self, function: Callable[..., Any]) -> Any:
        """Return the function: Numba compiles it, or its kernels, at the first call."""
        return function
