"""The updates that are measured on each network, and what Appendix C.4 predicts for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import kfgn_graph as kfgn
from experiments.benchmarks.cases import DAMPING, STEP, Case
from experiments.benchmarks.figures import GEMM_FLOPS
from experiments.benchmarks.flops import FIRST_ORDER, factor_terms, totals, update_terms
from experiments.benchmarks.memory import kept
from experiments.benchmarks.nets import Net
from experiments.benchmarks.systems import OURS, REFRESH_EVERY
from experiments.benchmarks.traffic import ITEM
from experiments.optimisers import FirstOrder, GaussNewton, Optimiser

METHODS = ("kfra", "kfac", "kflr")
GRADIENT = "gradient"
SCHEDULES = ("fresh", "defaults")
"""``fresh`` estimates and factorises at every update, with a constant damping and step length.
``defaults`` is the package's own schedule, with both adapting."""
RATE = 1e-3
"""Step length of the gradient step."""


@dataclass(frozen=True)
class Candidate:
    """One update of one network.

    Attributes
    ----------
    method : str
        Of ``METHODS``, or ``GRADIENT``: a step along the gradient, without curvature.
    schedule : str
        Of ``SCHEDULES``; empty for the gradient step.
    """

    method: str
    schedule: str = ""

    @property
    def name(self) -> str:
        """A name for the record, unique among the updates of a network."""
        return f"{self.method}-{self.schedule}" if self.schedule else self.method

    @property
    def optimiser(self) -> Optimiser:
        """The settings of the update."""
        if self.method == GRADIENT:
            return FirstOrder("sgd", RATE)
        if self.schedule == "defaults":
            return GaussNewton(self.method)  # type: ignore[arg-type]
        return GaussNewton(self.method, DAMPING, STEP, factors_every=1, refresh_every=1)  # type: ignore[arg-type]

    def case(self, net: Net) -> Case:
        """Return the benchmark's case, which knows the period and the work of an update."""
        if self.method == GRADIENT:
            return Case(net, "pytensor-ml", "jax", FIRST_ORDER)
        adaptive = self.schedule == "defaults"
        return Case(net, OURS, "jax", self.method, REFRESH_EVERY if adaptive else 1, adaptive)


def candidates(schedules: Sequence[str]) -> Iterator[Candidate]:
    """Yield the gradient step, then each method on each schedule."""
    yield Candidate(GRADIENT)
    for schedule in schedules:
        for method in METHODS:
            yield Candidate(method, schedule)


def spec_of(net: Net, candidate: Candidate, file: str) -> kfgn.GraphSpec:
    """Return the spec of an update, for the package's prediction.

    Parameters
    ----------
    net : Net
        The network with its batch.
    candidate : Candidate
        The update.
    file : str
        Name of the NumPy file of the data.
    """
    tables: dict[str, Any] = {
        "loss": net.loss,
        "batch": net.batch,
        "backend": "jax",
        "network": {"hidden": list(net.sizes[1:-1]), "activation": net.activation},
        "data": {"file": file, "arrays": ["x", "y"]},
        "budget": {"updates": 1},
    }
    return kfgn.GraphSpec.model_validate({**tables, **candidate.optimiser.spec()})


def predicted_gemms(net: Net, candidate: Candidate) -> float:
    """Return the time of an update by C.4's counts, in products of 2000 x 2000 matrices."""
    work = candidate.case(net).work
    return totals(update_terms(net.sizes, net.batch, work))[0] / GEMM_FLOPS


def predicted_bytes(net: Net, candidate: Candidate) -> dict[str, float]:
    """Return the memory of an update by part: what has to be kept, and its batch."""
    work = candidate.case(net).work
    parts = {part.name: part.count for part in kept(net.sizes, net.batch, work)}
    if candidate.method == GRADIENT:
        parts["parameters"] = float(ITEM * net.parameters)  # without Adam's moments
    return {**parts, "batch": float(ITEM * net.batch * (net.sizes[0] + net.outputs))}


def own_flops(method: str, sizes: Sequence[int], batch: int) -> float:
    """Return the operations of one estimate of G, the part in which the methods differ."""
    terms = factor_terms(method, sizes, batch)
    return sum(term.full for term in terms if term.name != "Q")


def crossover(sizes: Sequence[int], batch: int) -> float:
    """Return the number of columns above which KFLR costs more than KFRA, by C.4's counts.

    KFLR carries back K columns and KFAC one, each at the same cost: the number is KFRA's
    operations divided by KFAC's.
    """
    return own_flops("kfra", sizes, batch) / own_flops("kfac", sizes, batch)
