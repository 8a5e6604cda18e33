"""What one process of the benchmark measures."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import kfgn_graph as kfgn
from experiments.benchmarks.flops import (
    Term,
    adam_terms,
    adaptive_terms,
    kfra_terms,
    model_terms,
    totals,
)
from kfgn_graph.program.optimisers import FirstOrder, GaussNewton, Optimiser

GEMM_SIZE = 2000
"""Rows and columns of the float32 matrices whose product is the unit of time."""

GEMM_FLOPS = 2.0 * GEMM_SIZE**3
PAPER_SIZES = (784, 1000, 500, 250, 30, 250, 500, 1000, 784)

_DEFAULTS = inspect.signature(kfgn.compile_update).parameters
FACTORS_EVERY: int = _DEFAULTS["factors_every"].default
REFRESH_EVERY: int = _DEFAULTS["refresh_every"].default
FIRST = 50
"""So many updates do everything, whatever the periods: they are taken before any is timed."""


@dataclass(frozen=True)
class Subject:
    """A kind of update that can be measured.

    Attributes
    ----------
    optimiser : Optimiser
        What makes it.
    terms : callable
        From the network's widths and the batch to the operations of an update.
    warmup : int
        Updates until it does what it does from then on.
    period : int
        Updates after which what is due repeats.
    """

    optimiser: Optimiser
    terms: Callable[[Sequence[int], int], list[Term]]
    warmup: int = 3
    period: int = 1


SUBJECTS: Mapping[str, Subject] = {
    "kfra": Subject(
        GaussNewton("kfra"),
        lambda sizes, batch: adaptive_terms(sizes, batch, FACTORS_EVERY, REFRESH_EVERY),
        warmup=FIRST,
        period=REFRESH_EVERY,
    ),
    "kfra-fresh": Subject(
        GaussNewton("kfra", factors_every=1, refresh_every=1),
        lambda sizes, batch: [*kfra_terms(sizes, batch), *model_terms(sizes, batch)],
    ),
    "kfra-plain": Subject(
        GaussNewton("kfra", damping=3e-3, step=0.05, factors_every=1, refresh_every=1), kfra_terms
    ),
    "adam": Subject(FirstOrder("adam"), adam_terms),
}
"""By name: the defaults; everything fresh at every update; that with constant step and damping."""


@dataclass(frozen=True)
class Configuration:
    """What one process measures.

    Attributes
    ----------
    method : str
        The update, of ``SUBJECTS``.
    backend : {"jax", "numba", "c"}
        Its backend.
    sizes : tuple of int
        Widths of the network from input to output, both the same.
    batch : int
        Examples a batch.
    repeats : int
        Timed pairs, at least: whole periods of the update are timed, three or more.
    calm : bool
        Whether SciPy's LAPACK has one thread under JAX, as in the demo
        (:mod:`kfgn_graph.program.threads`).
    """

    method: str
    backend: str
    sizes: tuple[int, ...] = PAPER_SIZES
    batch: int = 1000
    repeats: int = 15
    calm: bool = True

    def __post_init__(self) -> None:
        if self.method not in SUBJECTS:
            raise ValueError(f"No method {self.method!r}; there are {', '.join(SUBJECTS)}.")
        if self.backend not in ("jax", "numba", "c"):
            raise ValueError(f"No backend {self.backend!r}; there are jax, numba, c.")

    @property
    def subject(self) -> Subject:
        """What is measured."""
        return SUBJECTS[self.method]

    @property
    def periods(self) -> int:
        """How many periods are timed."""
        return max(3, -(-self.repeats // self.subject.period))

    @property
    def terms(self) -> list[Term]:
        """The update's operations by part."""
        return self.subject.terms(self.sizes, self.batch)

    @property
    def flops(self) -> tuple[float, float]:
        """Operations of the update, symmetric products in full and in half."""
        return totals(self.terms)
