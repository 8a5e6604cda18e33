"""The runs of Figure 2: problems, settings, and their numbers of updates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from experiments.curves import RunCurve, ranked
from experiments.grids import (
    DEFAULT_ADAM,
    constant_rates,
    halved_rates,
    name_of,
    ranked_rates,
)
from experiments.networks import PAPER_HIDDEN
from experiments.optimisers import FirstOrder, GaussNewton, Optimiser, Rule
from experiments.studies import Task, task

RECIPES: tuple[Literal["paper", "defaults"], ...] = ("paper", "defaults")
METHODS: tuple[Literal["kfra", "kfac"], ...] = ("kfra", "kfac")
OTHERS: tuple[Rule, ...] = ("nesterov", "momentum", "sgd")
SEEDS = (0, 1, 2)
DECAYS: Mapping[str, float] = {"batch": 0.0, "average": 0.9}
"""Weight of the old factors: each batch alone, or the paper's moving average."""


@dataclass(frozen=True)
class Problem:
    """One panel of the figure.

    Attributes
    ----------
    name : str
        Of the panel.
    tables : mapping
        The tables of the spec for network, loss, data and batch.
    second_order, first_order : int
        The paper's numbers of updates.
    budget : float
        The share of them that is taken unless the command line says otherwise.
    """

    name: str
    tables: Mapping[str, Any]
    second_order: int
    first_order: int
    budget: float


def _autoencoder(data: Mapping[str, Any], loss: str) -> dict[str, Any]:
    network = {"hidden": list(PAPER_HIDDEN), "activation": "tanh"}
    return {"network": network, "loss": loss, "data": dict(data), "batch": 1000}


PROBLEMS: Mapping[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem(
            "curves", _autoencoder({"name": "curves"}, "bernoulli"), 5_000, 40_000, budget=0.1
        ),
        Problem("faces", _autoencoder({"name": "faces"}, "squared"), 20_000, 160_000, budget=0.01),
        Problem(
            "mnist",
            _autoencoder({"name": "mnist", "examples": 50_000}, "bernoulli"),
            5_000,
            40_000,
            budget=0.1,
        ),
    )
}
"""The panels of the figure, in the paper's order."""


def second_order_name(method: str, recipe: str, kind: str) -> str:
    """Return the name of a second-order setting, as ``kfra-paper-average``."""
    return f"{method}-{recipe}-{kind}"


@dataclass(frozen=True)
class Plan:
    """The runs of one panel.

    Attributes
    ----------
    problem : Problem
        The panel.
    budget : float
        The share of the paper's updates and grid.
    seeds : tuple of int
        Of the settings in the final picture; the grid has the first.
    """

    problem: Problem
    budget: float
    seeds: tuple[int, ...] = SEEDS

    @property
    def second_updates(self) -> int:
        """Number of updates of a second-order run."""
        return max(1, round(self.budget * self.problem.second_order))

    @property
    def first_updates(self) -> int:
        """Number of updates of a first-order run."""
        return max(1, round(self.budget * self.problem.first_order))

    def second_order(self, recipes: Sequence[str] = RECIPES) -> Iterator[Task]:
        """Yield the second-order runs, all settings of a seed before those of the next."""
        for seed in self.seeds:
            for recipe in recipes:
                for method in METHODS:
                    for kind, decay in DECAYS.items():
                        yield self._task(
                            second_order_name(method, recipe, kind),
                            GaussNewton(method, curvature_decay=decay, recipe=recipe),  # type: ignore[arg-type]
                            seed,
                        )

    def first_stage(self) -> Iterator[Task]:
        """Yield Adam at its default and at every rate."""
        yield self._first(DEFAULT_ADAM, self.seeds[0])
        for method in constant_rates("adam", self.budget, self.first_updates):
            yield self._first(method, self.seeds[0])

    def second_stage(self, first: Sequence[RunCurve]) -> Iterator[Task]:
        """Yield Adam's best rates with every halving period, given the runs of the first stage."""
        rates = ranked_rates(first)
        for method in halved_rates(rates, self.budget, self.first_updates):
            yield self._first(method, self.seeds[0])

    def others(self) -> Iterator[Task]:
        """Yield the grid of the other first-order methods."""
        for rule in OTHERS:
            for method in constant_rates(rule, self.budget, self.first_updates):
                yield self._first(method, self.seeds[0])

    def repeated(self, grid: Sequence[Task], curves: Sequence[RunCurve]) -> Iterator[Task]:
        """Yield the further seeds of Adam's default and of each rule's best setting."""
        methods = {each.setting: each.optimiser for each in grid}
        best = [name_of(DEFAULT_ADAM)]
        for rule in ("adam", *OTHERS):
            found = ranked(c for c in curves if c.rule == rule and c.seed == self.seeds[0])
            best += [curve.setting for curve in found[:1]]
        for seed in self.seeds[1:]:
            for setting in dict.fromkeys(best):
                yield self._task(setting, methods[setting], seed)

    def _first(self, method: FirstOrder, seed: int) -> Task:
        return self._task(name_of(method), method, seed)

    def _task(self, setting: str, method: Optimiser, seed: int) -> Task:
        first = isinstance(method, FirstOrder)
        updates = self.first_updates if first else self.second_updates
        return task(self.problem.name, setting, method, seed, updates, dict(self.problem.tables))
