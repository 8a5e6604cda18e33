"""C: PyTensor's virtual machine over compiled C Ops, which must have a BLAS to link."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import warnings
from pathlib import Path

import pytensor
import scipy
from pytensor.compile.mode import CVM, Mode

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.c.branches import KEPT_LAZY, PASSED_ON
from kfgn_graph.backends.c.linker import SideBySideLinker
from kfgn_graph.backends.rewrites.fast_activations import FAST_ELEMENTARY
from kfgn_graph.backends.rewrites.in_place import IN_PLACE, PYTENSORS
from kfgn_graph.backends.rewrites.dot import INNER_PRODUCTS
from kfgn_graph.backends.rewrites.inverses import FACTORED_SOLVES
from kfgn_graph.backends.rewrites.rematerialise import FEW_ROWS, LESS_KEPT
from kfgn_graph.backends.c.numpy_ops import LEFT_TO_NUMPY, SCALAR_EXPRESSIONS
from kfgn_graph.backends.rewrites.syrk import SYMMETRIC_PRODUCTS
from kfgn_graph.errors import BackendError

#: What PyTensor's C and ours call of BLAS; SciPy's library has names of its own for it.
ROUTINES = [letter + name for letter in "sd" for name in ("gemm", "gemv", "ger", "dot", "syrk")]


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


def find_blas_flags() -> str:
    """Return compiler and linker flags for a BLAS in this environment.

    The one that SciPy brings along comes first: it factorises in any case, and two would each have
    threads that wait for a core. MKL's are told not to spin, unless the user has said otherwise.

    Raises
    ------
    BackendError
        If there is none; PyTensor itself looks for the system's BLAS before.
    """
    folder = Path(scipy.__file__).parent.with_name("scipy.libs")
    for library in sorted(folder.glob("libscipy_openblas-*.so")):
        names = [f"-D{name}_=scipy_{name}_" for name in ROUTINES]
        return " ".join([flags_of(library), *names])
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    for library in sorted(Path(sys.prefix, "lib").glob("libmkl_rt.so*")):
        ctypes.CDLL(str(library), mode=os.RTLD_GLOBAL | os.RTLD_NOW)
        return flags_of(library)
    raise BackendError(
        "backend='c' found no BLAS to link, and would be many times slower without one: "
        "`pip install mkl`, or install the system's libopenblas-dev, or set PyTensor's "
        "blas__ldflags; or choose backend='numba' or 'jax'."
    )


def flags_of(library: Path) -> str:
    """Return the flags that link a library where it is, by a name that PyTensor finds there."""
    plain = library.suffix == ".so"
    name = library.stem.removeprefix("lib") if plain else f":{library.name}"
    return f"-L{library.parent} -l{name} -Wl,-rpath,{library.parent}"
