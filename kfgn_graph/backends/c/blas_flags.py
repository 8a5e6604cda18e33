"""Compiler and linker flags for a BLAS."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import scipy

from kfgn_graph.errors import BackendError

#: What PyTensor's C and ours call of BLAS; SciPy's library has names of its own for it.
ROUTINES = [letter + name for letter in "sd" for name in ("gemm", "gemv", "ger", "dot", "syrk")]


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
