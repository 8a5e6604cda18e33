"""Backends by name, for functions that are no update."""

import importlib.util
from typing import Literal

Backend = Literal["auto", "jax", "numba", "c"]
MODES = {"jax": "JAX", "numba": "NUMBA", "c": "CVM"}


def resolve_backend(backend: Backend) -> Literal["jax", "numba", "c"]:
    """Return the backend that ``"auto"`` stands for: JAX where it is installed, else Numba."""
    if backend == "auto":
        return "jax" if importlib.util.find_spec("jax") else "numba"
    return backend


def backend_mode(backend: Backend) -> str:
    """Return the name of a backend's mode in PyTensor."""
    return MODES[resolve_backend(backend)]
