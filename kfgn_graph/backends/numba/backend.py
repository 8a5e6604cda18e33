"""Numba: PyTensor's mode for it, for any number of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytensor.compile.mode import NUMBA, Mode
from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.link.numba.linker import NumbaLinker

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.rewrites.fast_activations import FAST_ELEMENTARY
from kfgn_graph.backends.rewrites.in_place import IN_PLACE, PYTENSORS
from kfgn_graph.backends.rewrites.inverses import FACTORED_SOLVES
from kfgn_graph.backends.rewrites.rematerialise import FEW_ROWS, LESS_KEPT, READ_JOINED
from kfgn_graph.backends.rewrites.syrk import SYMMETRIC_PRODUCTS


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


class NumbaBackend(Backend):
    """PyTensor's Numba mode, with symmetric products by SYRK and inverses by POTRI."""

    name = "numba"
    static_batch = False

    def mode(self) -> Mode:
        import kfgn_graph.backends.numba.dispatch  # noqa: F401  registers them
        from kfgn_graph.backends.numba.scalar_dispatch import INLINE_EXPRESSIONS

        mode = Mode(ProgramLinker(), NUMBA._optimizer)
        return mode.excluding(PYTENSORS).including(
            SYMMETRIC_PRODUCTS,
            FACTORED_SOLVES,
            FAST_ELEMENTARY,
            LESS_KEPT,
            IN_PLACE,
            FEW_ROWS,
            READ_JOINED,
            INLINE_EXPRESSIONS,
        )
