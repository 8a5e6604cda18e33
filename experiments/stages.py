"""The stages of a study: second-order runs, Adam's grid, other rules' grids, further seeds."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from experiments.curves import RunCurve, complete_curves, ranked
from experiments.grids import DEFAULT_ADAM, constant_rates, halved_rates, name_of, ranked_rates
from experiments.optimisers import FirstOrder, Optimiser, Recipe, Rule
from experiments.studies import Task, run_missing

RECIPES: tuple[Recipe, ...] = ("paper", "defaults")
SEEDS = (0, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Plan(ABC):
    """The runs of one panel of a figure.

    Attributes
    ----------
    budget : float
        The share of the paper's updates and grid.
    seeds : tuple of int
        Of the settings in the final picture; the grids have the first.
    """

    budget: float
    seeds: tuple[int, ...] = SEEDS

    #: Recipes of the second-order methods.
    recipes: tuple[Recipe, ...] = RECIPES
    #: First-order rules besides Adam.
    rules: tuple[Rule, ...] = ()

    @property
    @abstractmethod
    def first_updates(self) -> int:
        """Number of updates of a first-order run."""

    @abstractmethod
    def settings(self, recipe: Recipe) -> Iterator[tuple[str, Optimiser]]:
        """Yield the second-order settings of a recipe with their names, ``<method>-<recipe>``."""

    @abstractmethod
    def run(self, setting: str, method: Optimiser, seed: int) -> Task:
        """Return a run."""

    def parts(self) -> tuple[str, ...]:
        """Return the parts of the study: a recipe each, Adam's grid, the other rules' grids."""
        return (*self.recipes, "adam", *(["others"] if self.rules else []))

    def second_order(self) -> Iterator[Task]:
        """Yield the second-order runs, all settings of a seed before those of the next."""
        for seed in self.seeds:
            for recipe in self.recipes:
                for setting, method in self.settings(recipe):
                    yield self.run(setting, method, seed)

    def first_stage(self) -> Iterator[Task]:
        """Yield Adam at its default and at every rate."""
        yield self._first(DEFAULT_ADAM)
        yield from map(self._first, constant_rates("adam", self.budget, self.first_updates))

    def all_kinds(self) -> Iterator[Task]:
        """Yield runs in which every setting of another cost occurs, all of the first seed."""
        for recipe in self.recipes:
            for setting, method in self.settings(recipe):
                yield self.run(setting, method, self.seeds[0])
        yield self._first(DEFAULT_ADAM)
        for rule in self.rules:
            yield self._first(next(constant_rates(rule, self.budget, self.first_updates)))

    def second_stage(self, first: Sequence[RunCurve]) -> Iterator[Task]:
        """Yield Adam's best rates with every halving period, given the runs of the first stage."""
        rates = ranked_rates(first)
        yield from map(self._first, halved_rates(rates, self.budget, self.first_updates))

    def others(self) -> Iterator[Task]:
        """Yield the grids of the other first-order rules."""
        for rule in self.rules:
            yield from map(self._first, constant_rates(rule, self.budget, self.first_updates))

    def repeated(self, grid: Sequence[Task], curves: Sequence[RunCurve]) -> Iterator[Task]:
        """Yield the further seeds of Adam's default and of each rule's best setting."""
        methods = {each.setting: each.optimiser for each in grid}
        settings = [name_of(DEFAULT_ADAM)]
        for rule in ("adam", *self.rules):
            found = ranked(c for c in curves if c.rule == rule and c.seed == self.seeds[0])
            settings += [curve.setting for curve in found[:1]]
        for seed in self.seeds[1:]:
            for setting in dict.fromkeys(settings):
                yield self.run(setting, methods[setting], seed)

    def _first(self, method: FirstOrder) -> Task:
        return self.run(name_of(method), method, self.seeds[0])


def run_stages(
    plan: Plan, parts: Sequence[str], folder: Path, console: Console, train: bool = True
) -> list[RunCurve]:
    """Train the runs of a panel that are missing; return the curves of all complete ones.

    Parameters
    ----------
    plan : Plan
        The panel.
    parts : sequence of str
        Of ``plan.parts()``; which runs to train.
    folder : Path
        Where the runs' folders are.
    console : rich.console.Console
        Shows the progress.
    train : bool
        Whether to train, or only to read.
    """

    def stage(tasks: Sequence[Task]) -> list[Task]:
        wanted = [each for each in tasks if _part(each) in parts]
        if train and wanted:
            run_missing(wanted, folder, console)
        return list(tasks)

    tasks = stage(list(plan.second_order()))
    grid = stage(list(plan.first_stage()))
    grid += stage(list(plan.second_stage(complete_curves(grid, folder))))
    grid += stage(list(plan.others()))
    repeated = stage(list(plan.repeated(grid, complete_curves(grid, folder))))
    return complete_curves([*tasks, *grid, *repeated], folder)


def _part(each: Task) -> str:
    if not each.first_order:
        return each.setting.split("-")[1]
    return "adam" if each.setting.startswith("adam") else "others"
