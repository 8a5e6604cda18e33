"""What Ops that call BLAS from C have in common."""

from __future__ import annotations

from typing import Any

from pytensor.link.c.op import COp
from pytensor.tensor.blas._core import ldflags
from pytensor.tensor.blas.c_code.blas_headers import blas_header_text

#: BLAS's letter for the dtypes that it has.
BLAS_LETTERS = {"float32": "s", "float64": "d"}

#: Where rewrites to such Ops come: after canonicalisation and its merges, before PyTensor's own
#: choice of BLAS products.
BEFORE_BLAS = 1.6


class BlasOp(COp):
    """An Op whose C code calls the BLAS that PyTensor links."""

    def c_support_code(self, **kwargs: Any) -> str:
        """Return BLAS's declarations."""
        return str(blas_header_text())

    def c_libraries(self, **kwargs: Any) -> list[str]:
        """Return the BLAS that PyTensor links."""
        return ldflags()

    def c_compile_args(self, **kwargs: Any) -> list[str]:
        """Return its flags."""
        return ldflags(libs=False, flags=True)

    def c_lib_dirs(self, **kwargs: Any) -> list[str]:
        """Return where it is."""
        return ldflags(libs=False, libs_dir=True)

    def c_header_dirs(self, **kwargs: Any) -> list[str]:
        """Return where its headers are."""
        return ldflags(libs=False, include_dir=True)

    def c_names(self, dtype: str, sub: dict[str, str]) -> dict[str, str]:
        """Return what C code calls a dtype, and how it gives up."""
        return {"ctype": f"npy_{dtype}", "typenum": f"NPY_{dtype.upper()}", "fail": sub["fail"]}
