"""Compile backends: how one is chosen, and what it compiles with."""

from __future__ import annotations

from importlib.util import find_spec

from pytensor.graph.basic import Variable
from pytensor.graph.traversal import graph_inputs, toposort

import kfgn_graph.backends.inverses
import kfgn_graph.backends.registration
import kfgn_graph.backends.rewrites.accumulation  # noqa: F401  for their registration
from kfgn_graph.backends.base import Backend
from kfgn_graph.errors import BackendError
from kfgn_graph.printing import describe

NAMES = ("auto", "jax", "numba", "c")


def resolve_backend(name: str, devices: int | None = None) -> Backend:
    """Return a backend by name.

    Parameters
    ----------
    name : {'auto', 'jax', 'numba', 'c'}
        ``auto`` is JAX if it is installed, and Numba otherwise.
    devices : int, optional
        The number of JAX devices over which batches are divided.

    Raises
    ------
    BackendError
        If the name is unknown, or if the backend cannot be used on this machine.
    """
    if name not in NAMES:
        raise BackendError(f"backend={name!r} is not one of {NAMES}.")
    if name == "auto":
        name = "jax" if find_spec("jax") is not None else "numba"
    if name == "jax":
        if find_spec("jax") is None:
            raise BackendError(
                "backend='jax' needs JAX: install it with `pip install \"kfgn_graph[jax]\"`."
            )
        from kfgn_graph.backends.jax.backend import JAXBackend

        return JAXBackend(devices)
    if devices is not None:
        raise BackendError(f"devices={devices} needs backend='jax', not {name!r}.")
    if name == "numba":
        if find_spec("numba") is None:
            raise BackendError("backend='numba' needs Numba: `pip install numba`.")
        from kfgn_graph.backends.numba.backend import NumbaBackend

        return NumbaBackend()
    from kfgn_graph.backends.c.backend import CBackend

    return CBackend()


def check_dtypes(loss: Variable, backend: str) -> None:
    """Raise :class:`BackendError` if a loss has float16 variables, which Numba cannot compile."""
    if backend != "numba":
        return
    for v in [*graph_inputs([loss]), *(u for n in toposort([loss]) for u in n.outputs)]:
        if getattr(v.type, "dtype", None) == "float16":
            raise BackendError(
                f"{describe(v)} has dtype float16, which Numba does not compile: convert it to "
                "float32, or use backend='jax' or backend='c'."
            )


__all__ = ["NAMES", "Backend", "check_dtypes", "resolve_backend"]
