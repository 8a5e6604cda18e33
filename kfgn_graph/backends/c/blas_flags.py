"""Compiler and linker flags for a BLAS."""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytensor
import scipy

from kfgn_graph.errors import BackendError
from kfgn_graph.overlapping import Overlapping

#: What PyTensor's C and ours call of BLAS; SciPy's library has names of its own for it.
ROUTINES = [letter + name for letter in "sd" for name in ("gemm", "gemv", "ger", "dot", "syrk")]


@contextmanager
def _configured() -> Iterator[None]:
    with pytensor.config.change_flags(blas__ldflags=blas_flags()):
        yield


#: Lets PyTensor link :func:`blas_flags` while a function is rewritten and compiled.
blas_configured = Overlapping(_configured)


def blas_flags() -> str:
    """Return the flags that the user has set, or those of :func:`find_blas_flags`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PyTensor could not link to a BLAS")
        return pytensor.config.blas__ldflags or find_blas_flags()


def find_blas_flags() -> str:
    """Return compiler and linker flags for a BLAS in this environment.

    SciPy's own OpenBLAS comes first: it does the factorisations in any case, and the threads of
    two libraries would compete for the cores. MKL is the second choice.

    Raises
    ------
    BackendError
        If there is none; PyTensor itself looks for the system's BLAS before.
    """
    folder = Path(scipy.__file__).parent.with_name("scipy.libs")
    for library in sorted(folder.glob("libscipy_openblas-*.so")):
        names = [f"-D{name}_=scipy_{name}_" for name in ROUTINES]
        return " ".join([flags_of(library), *names])
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
