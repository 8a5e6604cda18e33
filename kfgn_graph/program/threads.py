"""One thread for the LAPACK that JAX calls on a CPU, which makes its factorisations faster.

On a CPU JAX calls SciPy's LAPACK for Cholesky factors and triangular solves, and runs those of
different layers at once by itself. OpenBLAS splitting each call again makes more threads than
processors: they wait for each other, and where other programs run as well an update takes many
times as long. JAX's products are its own and keep all threads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import scipy.linalg  # noqa: F401  (loads the library whose threads are set)
from threadpoolctl import ThreadpoolController

from kfgn_graph.program.rules import Backend, resolve_backend


@contextmanager
def single_threaded_lapack(backend: Backend) -> Iterator[None]:
    """Give SciPy's own OpenBLAS one thread while the block runs, for the JAX backend alone.

    Where SciPy shares its BLAS with NumPy, and on other backends, nothing is changed.
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
    """Tell whether a library lies in a folder of SciPy's (NumPy's copy has a similar name)."""
    return any(folder.startswith("scipy") for folder in library.parts[:-1])
