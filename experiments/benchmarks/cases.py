"""Cases: one system's update, with its settings, on one network."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product

from experiments.benchmarks.flops import FIRST_ORDER, Work
from experiments.benchmarks.nets import Net
from experiments.benchmarks.systems import (
    FACTORS_EVERY,
    OURS,
    PEER_FIRST,
    SYSTEMS,
    System,
)

MOST_COLUMNS = 32
"""Outputs up to which KFLR, which carries back as many columns an example, is measured."""
DAMPING = 3e-3
STEP = 0.05
"""Constant damping and step length of ours where they do not adapt."""
PEER_DAMPING = 15.0
"""First damping of a peer that adapts."""


@dataclass(frozen=True)
class Case:
    """What one process measures.

    Attributes
    ----------
    net : Net
        The network with its batch.
    system : str
        Of ``SYSTEMS``.
    backend, method : str
        Of the system's.
    refresh : int
        Updates between two inversions.
    adaptive : bool
        Whether step length and damping adapt.
    repeats : int
        Timed samples, at least: whole periods of the schedule are timed, three or more.
    calm : bool
        Whether SciPy's LAPACK has one thread under JAX.
    """

    net: Net
    system: str
    backend: str
    method: str
    refresh: int = 1
    adaptive: bool = False
    repeats: int = 15
    calm: bool = True

    @property
    def description(self) -> System:
        """The system's entry."""
        return SYSTEMS[self.system]

    @property
    def key(self) -> str:
        """A name for its file, unique among cases but for ``repeats`` and ``calm``."""
        words = [self.net.name, self.system, self.backend, self.method]
        if self.method != FIRST_ORDER:
            words += [f"refresh{self.refresh}", "adaptive" if self.adaptive else "plain"]
        return "_".join(words)

    @property
    def factors_every(self) -> int:
        """Updates between two estimates of the factors: ours at the default period at most."""
        if self.system == OURS:
            return min(FACTORS_EVERY, self.refresh)
        return 1 if self.system == "kfac-jax" else self.refresh

    @property
    def period(self) -> int:
        """Updates after which what is due repeats."""
        adapting = self.description.adapt_every if self.adaptive else 1
        return math.lcm(self.factors_every, self.refresh, adapting)

    @property
    def warmup(self) -> int:
        """Updates until it does what it does from then on.

        Ours does everything in the first fifty, most of which the measuring process leaps over.
        """
        return 3 if self.system == OURS or self.method == FIRST_ORDER else PEER_FIRST

    @property
    def keeps_inverses(self) -> bool:
        """Whether inverses stay from one update to the next."""
        return self.system != OURS or self.refresh > 1

    @property
    def work(self) -> Work:
        """What its method has to compute."""
        system = self.description
        return Work(
            self.method,
            self.factors_every,
            self.refresh,
            self.adaptive,
            system.groups,
            system.examples or self.net.batch,
            system.adapt_every,
        )

    @property
    def reason(self) -> str:
        """Why it is not measured; empty where it is."""
        if self.method == "kflr" and self.net.outputs > MOST_COLUMNS:
            return f"KFLR carries {self.net.outputs} columns an example; measured up to 32"
        return ""

    @property
    def note(self) -> str:
        """What about it is not as asked; empty where nothing is."""
        substitute = self.description.substitute
        return f"no Bernoulli loss: {substitute}" if substitute and self.net.reconstructs else ""

    def settings(self) -> dict[str, object]:
        """Return what the measuring process is told."""
        return {
            **asdict(self.net),
            "layers": len(self.net.sizes) - 1,
            "system": self.system,
            "backend": self.backend,
            "method": self.method,
            "factors_every": self.factors_every,
            "refresh_every": self.refresh,
            "adaptive": self.adaptive,
            "adapt_every": self.description.adapt_every,
            "damping": DAMPING,
            "step": STEP,
            "initial_damping": PEER_DAMPING,
            "warmup": self.warmup,
            "period": self.period,
            "repeats": self.repeats,
            "calm": self.calm and self.backend == "jax",
        }


def all_cases(
    nets: Iterable[Net],
    systems: Sequence[str],
    backends: Sequence[str],
    methods: Sequence[str],
    refreshes: Sequence[int],
    adaptive: Sequence[bool],
    repeats: int = 15,
    calm: bool = True,
) -> Iterator[Case]:
    """Yield what of the wanted each system offers, network by network.

    Parameters
    ----------
    nets : iterable of Net
        The networks.
    systems, backends, methods, refreshes, adaptive
        What is wanted. ``backends`` says which of several a system is measured on: a peer,
        which has but one, is measured on that.
    repeats, calm
        As :class:`Case` has them.
    """
    for net, name in product(nets, systems):
        system = SYSTEMS[name]
        alone = len(system.backends) == 1
        chosen = product(
            [backend for backend in system.backends if alone or backend in backends],
            [method for method in system.methods if method in methods],
            [n for n in system.refreshes if FIRST_ORDER in system.methods or n in refreshes],
            [a for a in system.adaptive if system.adaptive == (a,) or a in adaptive],
        )
        for backend, method, refresh, adapting in chosen:
            yield Case(net, name, backend, method, refresh, adapting, repeats, calm)
