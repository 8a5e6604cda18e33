"""A limit of one thread for the LAPACK that JAX calls on a CPU; it makes factorisations faster.

On a CPU, JAX calls SciPy's LAPACK for Cholesky factors and triangular solves, and already runs
the calls of different layers in parallel. If OpenBLAS splits each call again, there are more
threads than processors, and they wait for each other. An update can then take many times as long
when other programs run as well. The limit does not affect matrix products, which JAX computes
itself on all threads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import scipy.linalg  # noqa: F401  (loads the library whose threads are set)
from threadpoolctl import ThreadpoolController

from kfgn_graph.program.rules import Backend, resolve_backend


@contextmanager
def single_threaded_lapack(backend: Backend) -> Iterator[None]:
    """Limit SciPy's bundled OpenBLAS to one thread while the block runs, on the JAX backend.

    Nothing changes on other backends, or where SciPy shares its BLAS with NumPy.
    """
    controller = ThreadpoolController()
    paths = [library["filepath"] for library in controller.info()]
    of_scipy = [path for path in paths if _is_scipys(Path(path))]
    if resolve_backend(backend) != "jax" or not of_scipy:
        yield
        return
    with controller.select(filepath=of_scipy).limit(limits=1):
        yield


def _is_scipys(library: Path) -> bool:
    """Return whether a library lies in a SciPy folder; NumPy's copy has a similar name."""
    return any(folder.startswith("scipy") for folder in library.parts[:-1])
