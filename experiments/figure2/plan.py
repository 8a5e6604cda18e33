"""The runs of Figure 2: problems, settings, and their numbers of updates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from experiments.curves import RunCurve
from experiments.networks import PAPER_HIDDEN
from experiments.optimisers import FirstOrder, GaussNewton, Optimiser, Recipe, Rule
from experiments.stages import RECIPES, Plan
from experiments.studies import Task, task
from experiments.study_pictures import Line

METHODS: tuple[Literal["kfra", "kfac"], ...] = ("kfra", "kfac")
COLOURS = {"kfra": "#0b6fa4", "kfac": "#8a4f9e"}
STYLES = {"batch": "-", "average": "--"}
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


@dataclass(frozen=True, kw_only=True)
class Figure2Plan(Plan):
    """The runs of one panel of Figure 2.

    Attributes
    ----------
    problem : Problem
        The panel.
    """

    problem: Problem
    recipes: tuple[Recipe, ...] = (*RECIPES, "momentum")
    rules: tuple[Rule, ...] = ("nesterov", "momentum", "sgd")

    @property
    def first_updates(self) -> int:
        return max(1, round(self.budget * self.problem.first_order))

    @property
    def second_updates(self) -> int:
        """Number of updates of a second-order run."""
        return max(1, round(self.budget * self.problem.second_order))

    def settings(self, recipe: Recipe) -> Iterator[tuple[str, Optimiser]]:
        for method in METHODS:
            for kind, decay in DECAYS.items():
                if recipe == "momentum" and (method, kind) != ("kfra", "average"):
                    continue
                setting = GaussNewton(method, curvature_decay=decay, recipe=recipe)
                yield second_order_name(method, recipe, kind), setting

    def run(self, setting: str, method: Optimiser, seed: int) -> Task:
        first = isinstance(method, FirstOrder)
        updates = self.first_updates if first else self.second_updates
        tables = dict(self.problem.tables)
        return task(self.problem.name, setting, method, seed, updates, tables)


def lines(curves: Sequence[RunCurve], recipe: str) -> list[Line]:
    """Return the lines of KFRA and KFAC in a recipe on one problem."""
    found = []
    for method in METHODS:
        for kind in DECAYS:
            name = second_order_name(method, recipe, kind)
            runs = tuple(curve for curve in curves if curve.setting == name)
            if runs:
                label = method.upper() + (", moving average" if kind == "average" else "")
                found.append(Line(label, runs, COLOURS[method], STYLES[kind]))
    return found
