"""C: PyTensor's virtual machine over compiled C Ops, which must have a BLAS to link."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from pathlib import Path

import pytensor
from pytensor.compile.mode import Mode, get_mode

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.elementary import FAST_ELEMENTARY
from kfgn_graph.backends.scalars import SCALAR_EXPRESSIONS
from kfgn_graph.backends.symmetric import SYMMETRIC_PRODUCTS
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
        if not pytensor.config.blas__ldflags:
            pytensor.config.blas__ldflags = find_blas_flags()

    def mode(self) -> Mode:
        return get_mode("CVM").including(SYMMETRIC_PRODUCTS, FAST_ELEMENTARY, SCALAR_EXPRESSIONS)


def find_blas_flags() -> str:
    """Return linker flags for the BLAS of the ``mkl`` package in this environment.

    MKL's threads are told not to spin after a product, unless the user has said otherwise: SciPy's
    own BLAS factorises, and its threads would wait for a core until they sleep.

    Raises
    ------
    BackendError
        If there is none; PyTensor itself looks for the system's BLAS before.
    """
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    for library in sorted(Path(sys.prefix, "lib").glob("libmkl_rt.so*")):
        ctypes.CDLL(str(library), mode=os.RTLD_GLOBAL | os.RTLD_NOW)
        return f"-L{library.parent} -l:{library.name} -Wl,-rpath,{library.parent}"
    raise BackendError(
        "backend='c' found no BLAS to link, and would be many times slower without one: "
        "`pip install mkl`, or install the system's libopenblas-dev, or set PyTensor's "
        "blas__ldflags; or choose backend='numba' or 'jax'."
    )
