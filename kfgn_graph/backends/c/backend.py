"""The C backend: PyTensor's virtual machine and C Ops, linked to a BLAS."""

from __future__ import annotations

import shutil
import warnings

import pytensor
from pytensor.compile.mode import CVM, Mode

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.c.blas_flags import find_blas_flags
from kfgn_graph.backends.c.branches import ALIAS_BRANCHES, KEEP_LAZY
from kfgn_graph.backends.c.linker import ParallelCLinker
from kfgn_graph.backends.c.numpy_ops import BY_NUMPY, SCALAR_OPS
from kfgn_graph.backends.inverses import FACTORED_SOLVES
from kfgn_graph.backends.rewrites.dot import DOT
from kfgn_graph.backends.rewrites.fast_activations import FAST_ACTIVATIONS
from kfgn_graph.backends.rewrites.in_place import IN_PLACE, PYTENSOR_IN_PLACE
from kfgn_graph.backends.rewrites.leading_rows import COPY_FEW_ROWS
from kfgn_graph.backends.rewrites.rematerialise import REMATERIALISE
from kfgn_graph.backends.rewrites.syrk import SYRK
from kfgn_graph.errors import BackendError


class CBackend(Backend):
    """PyTensor's C mode; refused where it would be slow for want of a compiler or a BLAS.

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
        mode = Mode(ParallelCLinker(use_cloop=True), CVM._optimizer)
        return mode.excluding(PYTENSOR_IN_PLACE).including(
            SYRK,
            FACTORED_SOLVES,
            DOT,
            FAST_ACTIVATIONS,
            SCALAR_OPS,
            REMATERIALISE,
            IN_PLACE,
            COPY_FEW_ROWS,
            KEEP_LAZY,
            ALIAS_BRANCHES,
            BY_NUMPY,
        )
