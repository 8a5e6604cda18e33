"""The C backend: PyTensor's virtual machine and C Ops, linked to a BLAS."""

from __future__ import annotations

import shutil
from typing import Any

import pytensor
from pytensor.compile.mode import CVM, Mode
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter

from kfgn_graph.backends.c.blas_flags import blas_configured, blas_flags
from kfgn_graph.backends.c.branches import ALIAS_BRANCHES, KEEP_LAZY
from kfgn_graph.backends.c.linker import ParallelCLinker
from kfgn_graph.backends.c.numpy_ops import BY_NUMPY
from kfgn_graph.backends.host import HostBackend
from kfgn_graph.backends.inverses import FACTORED_SOLVES
from kfgn_graph.backends.rewrites.dot import DOT
from kfgn_graph.backends.rewrites.fast_activations import FAST_ACTIVATIONS
from kfgn_graph.backends.rewrites.in_place import IN_PLACE, PYTENSOR_IN_PLACE
from kfgn_graph.backends.rewrites.rematerialise import REMATERIALISE
from kfgn_graph.backends.rewrites.syrk import SYRK
from kfgn_graph.errors import BackendError


class BlasMode(Mode):
    """A mode whose functions are rewritten with a BLAS at hand; its linker links that."""

    @property
    def optimizer(self) -> GraphRewriter:
        """The mode's rewrites, under the flags of the BLAS."""
        return WithBlas(super().optimizer)

    @property
    def blas_flags(self) -> str:
        """The flags that its functions are linked with."""
        return blas_flags()


class WithBlas(GraphRewriter):
    """A rewrite that runs with a BLAS configured."""

    def __init__(self, rewriter: GraphRewriter) -> None:
        self._rewriter = rewriter

    def add_requirements(self, fgraph: FunctionGraph) -> None:
        """Add what the rewrite requires."""
        self._rewriter.add_requirements(fgraph)

    def apply(self, fgraph: FunctionGraph, *args: Any, **kwargs: Any) -> Any:
        """Rewrite a graph."""
        with blas_configured():
            return self._rewriter.apply(fgraph, *args, **kwargs)


class CBackend(HostBackend):
    """PyTensor's C mode; refused where it would be slow for want of a compiler or a BLAS.

    Raises
    ------
    BackendError
        If there is no C++ compiler, or no BLAS to link.
    """

    name = "c"
    static_batch = False

    def __init__(self) -> None:
        super().__init__()
        if not pytensor.config.cxx or shutil.which(pytensor.config.cxx.split()[0]) is None:
            raise BackendError(
                "backend='c' needs a C++ compiler: install g++, or choose backend='numba'."
            )
        blas_flags()  # raises if there is none

    def mode(self) -> Mode:
        mode = BlasMode(ParallelCLinker(use_cloop=True), CVM._optimizer)
        return mode.excluding(PYTENSOR_IN_PLACE).including(
            SYRK,
            FACTORED_SOLVES,
            DOT,
            FAST_ACTIVATIONS,
            REMATERIALISE,
            IN_PLACE,
            KEEP_LAZY,
            ALIAS_BRANCHES,
            BY_NUMPY,
        )
