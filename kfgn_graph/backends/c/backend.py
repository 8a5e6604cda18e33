"""C: PyTensor's virtual machine over compiled C Ops, which must have a BLAS to link."""

from __future__ import annotations

import shutil
import warnings

import pytensor
from pytensor.compile.mode import CVM, Mode

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.c.blas_flags import find_blas_flags
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
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "PyTensor could not link to a BLAS")
            if not pytensor.config.blas__ldflags:
                pytensor.config.blas__ldflags = find_blas_flags()

    def mode(self) -> Mode:
        mode = Mode(SideBySideLinker(use_cloop=True), CVM._optimizer)
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
