"""What one process of the benchmark measures."""

from dataclasses import dataclass

from experiments.benchmarks.flops import TERMS, totals

GEMM_SIZE = 2000
"""Rows and columns of the float32 matrices whose product is the unit of time."""

GEMM_FLOPS = 2.0 * GEMM_SIZE**3
PAPER_SIZES = (784, 1000, 500, 250, 30, 250, 500, 1000, 784)


@dataclass(frozen=True)
class Configuration:
    """What one process measures.

    Attributes
    ----------
    method : {"kfra", "adam"}
        The update.
    backend : {"jax", "numba", "c"}
        Its backend.
    sizes : tuple of int
        Widths of the network from input to output, both the same.
    batch : int
        Examples a batch.
    repeats, warmup : int
        Timed pairs, and updates before them.
    calm : bool
        Whether SciPy's LAPACK has one thread under JAX, as in the demo
        (:mod:`experiments.threads`).
    """

    method: str
    backend: str
    sizes: tuple[int, ...] = PAPER_SIZES
    batch: int = 1000
    repeats: int = 15
    warmup: int = 3
    calm: bool = True

    def __post_init__(self) -> None:
        if self.method not in TERMS:
            raise ValueError(f"No method {self.method!r}; there are {', '.join(TERMS)}.")
        if self.backend not in ("jax", "numba", "c"):
            raise ValueError(f"No backend {self.backend!r}; there are jax, numba, c.")

    @property
    def flops(self) -> tuple[float, float]:
        """Operations of the update, symmetric products in full and in half."""
        return totals(TERMS[self.method](self.sizes, self.batch))
