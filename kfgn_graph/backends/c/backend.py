"""C: PyTensor's virtual machine over compiled C Ops, which must have a BLAS to link."""

from __future__ import annotations

import shutil
from typing import Any

import pytensor
from pytensor.compile.mode import CVM, Mode
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.c.blas_flags import blas_configured
from kfgn_graph.backends.c.branches import KEPT_LAZY, PASSED_ON
from kfgn_graph.backends.c.linker import SideBySideLinker
from kfgn_graph.backends.c.numpy_ops import LEFT_TO_NUMPY, SCALAR_EXPRESSIONS
from kfgn_graph.backends.rewrites.dot import INNER_PRODUCTS
from kfgn_graph.backends.rewrites.fast_activations import FAST_ELEMENTARY
from kfgn_graph.backends.rewrites.in_place import IN_PLACE, PYTENSORS
from kfgn_graph.backends.rewrites.inverses import FACTORED_SOLVES
from kfgn_graph.backends.rewrites.leading_rows import FEW_ROWS
from kfgn_graph.backends.rewrites.rematerialise import LESS_KEPT
from kfgn_graph.backends.rewrites.syrk import SYMMETRIC_PRODUCTS
from kfgn_graph.errors import BackendError


class BlasMode(Mode):
    """A mode whose functions are rewritten with a BLAS at hand; its linker links that."""

    @property
    def optimizer(self) -> GraphRewriter:
        """The mode's rewrites, under the flags of the BLAS."""
        return WithBlas(super().optimizer)


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


class CBackend(Backend):
    """PyTensor's C mode, with symmetric products by SYRK, refused where it would be silently slow.

    Raises
    ------
    BackendError
        If there is no C++ compiler, or no BLAS to link.
    """

    name = "c"
    static_batch = False

    def __init__(self) -> None:
        if not pytensor.config.cxx or shutil.which(pytensor.config.cxx.split()[0]) is None:
            raise BackendError(
                "backend='c' needs a C++ compiler: install g++, or choose backend='numba'."
            )
        with blas_configured():
            pass  # raises if there is none

    def mode(self) -> Mode:
        mode = BlasMode(SideBySideLinker(use_cloop=True), CVM._optimizer)
        return mode.excluding(PYTENSORS).including(
            SYMMETRIC_PRODUCTS,
            FACTORED_SOLVES,
            INNER_PRODUCTS,
            FAST_ELEMENTARY,
            SCALAR_EXPRESSIONS,
            LESS_KEPT,
            IN_PLACE,
            FEW_ROWS,
            KEPT_LAZY,
            PASSED_ON,
            LEFT_TO_NUMPY,
        )
