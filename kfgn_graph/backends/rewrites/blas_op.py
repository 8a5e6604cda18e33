"""Base class of Ops whose C code calls BLAS."""

from __future__ import annotations

from typing import Any

from pytensor.link.c.op import COp
from pytensor.tensor.blas._core import ldflags
from pytensor.tensor.blas.c_code.blas_headers import blas_header_text

#: The prefix of BLAS routines for each supported dtype.
BLAS_PREFIXES = {"float32": "s", "float64": "d"}

#: Position of the rewrites that introduce such Ops: after canonicalisation and its merges, before
#: PyTensor's choice of BLAS products.
BEFORE_BLAS = 1.6


class BlasOp(COp):
    """An Op whose C code calls the BLAS that PyTensor links."""

    def c_support_code(self, **kwargs: Any) -> str:
        """Return the declarations of BLAS."""
        return str(blas_header_text())

    def c_libraries(self, **kwargs: Any) -> list[str]:
        """Return the names of the linked libraries."""
        return ldflags()

    def c_compile_args(self, **kwargs: Any) -> list[str]:
        """Return the compiler flags."""
        return ldflags(libs=False, flags=True)

    def c_lib_dirs(self, **kwargs: Any) -> list[str]:
        """Return the folders of the libraries."""
        return ldflags(libs=False, libs_dir=True)

    def c_header_dirs(self, **kwargs: Any) -> list[str]:
        """Return the folders of the headers."""
        return ldflags(libs=False, include_dir=True)

    def c_names(self, dtype: str, sub: dict[str, str]) -> dict[str, str]:
        """Return the C names of a dtype, and the code that reports a failure."""
        return {"ctype": f"npy_{dtype}", "typenum": f"NPY_{dtype.upper()}", "fail": sub["fail"]}
