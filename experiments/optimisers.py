"""The methods that the experiments compare, as one interface.

A method is a small frozen record of its settings. Its ``compile`` returns a step: an object that
is called with a batch, updates the parameters of the network and returns the loss of the batch
before the update. :func:`optimiser` makes a method from its name. A setting that is None is left
to the package.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

import kfgn_graph as kfgn
from experiments.backends import Backend
from experiments.recipes import paper_arguments, paper_tables

Rule = Literal["sgd", "momentum", "nesterov", "adam"]
Recipe = Literal["defaults", "paper", "momentum"]
CURVATURES = {"kfra": "KFRA", "kflr": "KFLR", "kfac": "KFAC", "hessianfree": "HessianFree"}
RULES = {"sgd": "SGD", "momentum": "Momentum", "nesterov": "Nesterov", "adam": "Adam"}
GRID_RATES = tuple(2.0**-power for power in range(6, 14))
"""The paper's grid of learning rates, largest first."""
GRID_PERIODS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""The paper's grid of halving periods, as shares of a run's updates; 1 keeps the rate constant."""


class Step:
    """A compiled first-order update, which reports its loss alone.

    Parameters
    ----------
    update : callable
        As of :func:`kfgn_graph.compile_first_order`.
    """

    skipped = 0
    """Updates so far that were skipped."""

    def __init__(self, update: Callable[..., Any]) -> None:
        self.update = update

    def __call__(self, *batch: np.ndarray) -> float:
        """Update the parameters; return the loss of the batch before the update."""
        return float(self.update(*batch))

    def statistics(self) -> dict[str, float]:
        """Return the statistics of the last update; empty where there are none."""
        return {}

    def averaged(self) -> dict[str, np.ndarray] | None:
        """Return the averaged iterates by the names of the parameters, where there are any."""
        return None


class GaussNewtonStep(Step):
    """A compiled update of :func:`kfgn_graph.compile_update`, which reports statistics.

    Parameters
    ----------
    update : kfgn_graph.Update
        The update.
    averages : bool
        Whether it keeps averaged iterates.
    """

    def __init__(self, update: kfgn.Update, averages: bool) -> None:
        super().__init__(update)
        self._averages = averages
        self._last: kfgn.UpdateStats | None = None

    def __call__(self, *batch: np.ndarray) -> float:
        self._last = self.update(*batch)
        self.skipped += bool(self._last.skipped)
        return float(self._last.loss)

    def statistics(self) -> dict[str, float]:
        if self._last is None:
            return {}
        return {name: float(value) for name, value in self._last.as_dict().items()}

    def averaged(self) -> dict[str, np.ndarray] | None:
        return self.update.averaged() if self._averages else None


class Optimiser(Protocol):
    """A method with its settings."""

    @property
    def name(self) -> str:
        """Short name, for example ``"KFRA"``."""

    @property
    def settings(self) -> str:
        """Short description of the settings, for a table."""

    def spec(self) -> dict[str, Any]:
        """Return the tables of a spec that set the method, as ``kfgn train`` reads them."""

    def compile(self, network: kfgn.Network, backend: Backend = "auto", seed: int = 0) -> Step:
        """Build the step; a backend that compiles late does so at the step's first call."""


@dataclass(frozen=True)
class GaussNewton:
    """A method of :func:`kfgn_graph.compile_update`; None means the package's default.

    Attributes
    ----------
    method : {"kfra", "kflr", "kfac", "hessianfree"}
        The curvature method.
    damping : float or None
        A constant lambda, in units of the loss's curvature, in place of the adaptive default.
    step : float or None
        A fixed step length in place of the adaptive default.
    curvature_decay : float or None
        Weight of the old factors in their moving average.
    factors_every : int or None
        Number of updates between estimates of the factors.
    refresh_every : int or None
        Number of updates between refreshes of the inverses.
    average : bool
        Whether to keep averaged iterates and to evaluate them as well as the parameters.
    recipe : {"defaults", "paper", "momentum"}
        Where None leaves a setting to: the package, the paper's own recipe, which
        ``experiments.recipes`` states, or that recipe with momentum.
    """

    method: Literal["kfra", "kflr", "kfac", "hessianfree"] = "kfra"
    damping: float | None = None
    step: float | None = None
    curvature_decay: float | None = None
    factors_every: int | None = None
    refresh_every: int | None = None
    average: bool = False
    recipe: Recipe = "defaults"

    @property
    def name(self) -> str:
        """The method's name in the literature."""
        return "Hessian-free" if self.method == "hessianfree" else CURVATURES[self.method]

    @property
    def settings(self) -> str:
        """The settings that are not None, or ``"defaults"``."""
        chosen = [
            f"{word} {value:g}" for word, value in self._named().items() if value is not None
        ]
        first = [] if self.recipe == "defaults" else ["the paper's recipe"]
        first += ["momentum"] if self.recipe == "momentum" else []
        last = ["averaged"] if self.average else []
        return ", ".join([*first, *chosen, *last]) or "defaults"

    def _named(self) -> dict[str, float | None]:
        return {
            "λ": self.damping,
            "step": self.step,
            "decay": self.curvature_decay,
            "factors every": self.factors_every,
            "inverses every": self.refresh_every,
        }

    def compile(self, network: kfgn.Network, backend: Backend = "auto", seed: int = 0) -> Step:
        """Compile the update; see :func:`kfgn_graph.compile_update` for what it may raise."""
        update = kfgn.compile_update(
            network.loss,
            list(network.parameters),
            list(network.inputs),
            method=getattr(kfgn, CURVATURES[self.method])(),
            backend=backend,
            seed=seed,
            **self._chosen(),
        )
        return GaussNewtonStep(update, self.average)

    def _chosen(self) -> dict[str, Any]:
        """Return the arguments that are not left to the package."""
        damping = None if self.damping is None else kfgn.ConstantDamping(self.damping)
        momentum = self.recipe == "momentum"
        recipe = {} if self.recipe == "defaults" else paper_arguments(momentum)
        arguments = {
            "damping": damping,
            "step": self.step,
            "curvature_decay": self.curvature_decay,
            "factors_every": self.factors_every,
            "refresh_every": self.refresh_every,
            "average_iterates": self.average or None,
        }
        chosen = {name: value for name, value in arguments.items() if value is not None}
        return recipe | chosen

    def spec(self) -> dict[str, Any]:
        """Return the tables ``method``, ``damping``, ``step``, ``schedule`` and ``l2``."""
        tables: dict[str, Any] = {"schedule": {}, "l2": 0.0}
        if self.recipe != "defaults":
            tables = paper_tables(momentum=self.recipe == "momentum")
        tables["method"] = {"name": self.method}
        if self.damping is not None:
            tables["damping"] = {"rule": "constant", "value": self.damping}
        if self.step is not None:
            tables["step"] = {"length": self.step}
        schedule = {
            "curvature_decay": self.curvature_decay,
            "factors_every": self.factors_every,
            "refresh_every": self.refresh_every,
            "average_iterates": self.average or None,
        }
        tables["schedule"] |= {name: v for name, v in schedule.items() if v is not None}
        return tables


@dataclass(frozen=True)
class FirstOrder:
    """A first-order method of pytensor-ml, with periodic halving of the rate as in the paper.

    Attributes
    ----------
    rule : {"sgd", "momentum", "nesterov", "adam"}
        Gradient descent without momentum, with momentum 0.9 or with Nesterov momentum 0.9; or
        Adam.
    rate : float
        Initial learning rate.
    period : float
        Period of the halving, as a share of the run's updates; 1 keeps the rate constant.
    updates : int or None
        Number of updates of the run; required if ``period`` is below 1.

    Raises
    ------
    ValueError
        The rule is unknown; the rate is not positive; the period is not in (0, 1]; or it is below
        1 and ``updates`` is missing.
    """

    rule: Rule = "adam"
    rate: float = 1e-3
    period: float = 1.0
    updates: int | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"no rule {self.rule!r}; the rules are {', '.join(RULES)}.")
        if self.rate <= 0 or not 0 < self.period <= 1:
            raise ValueError(f"the rate must be positive and the period in (0, 1]; got {self}.")
        if self.period < 1 and self.updates is None:
            raise ValueError("a period below 1 needs the run's number of updates.")

    @property
    def name(self) -> str:
        """The rule's name."""
        return RULES[self.rule]

    @property
    def settings(self) -> str:
        """The rate and the period of its halving."""
        halving = "" if self.period == 1 else f", halved every {100 * self.period:g} %"
        return f"rate {self.rate:.3g}{halving}"

    @property
    def halve_every(self) -> int | None:
        """Number of updates between halvings; None for a constant rate."""
        if self.period == 1 or self.updates is None:
            return None
        return max(1, round(self.period * self.updates))

    def spec(self) -> dict[str, Any]:
        """Return the table ``method``."""
        method: dict[str, Any] = {"name": self.rule, "rate": self.rate}
        if self.halve_every is not None:
            method["halve_every"] = self.halve_every
        return {"method": method}

    def compile(self, network: kfgn.Network, backend: Backend = "auto", seed: int = 0) -> Step:
        """Compile the update; ``seed`` is not used, nothing is drawn."""
        update = kfgn.compile_first_order(
            network.loss,
            network.parameters,
            network.inputs,
            self.rule,
            self.rate,
            halve_every=self.halve_every,
            backend=backend,
        )
        return Step(update)


OPTIMISERS: Mapping[str, Callable[[], Optimiser]] = {
    **{name: partial(GaussNewton, method=name) for name in CURVATURES},  # type: ignore[arg-type]
    "sgd": partial(FirstOrder, rule="sgd", rate=2.0**-10),
    "momentum": partial(FirstOrder, rule="momentum", rate=2.0**-10),
    "nesterov": partial(FirstOrder, rule="nesterov", rate=2.0**-10),
    "adam": FirstOrder,
}


def optimiser(name: str) -> Optimiser:
    """Return a method by name, with its default settings.

    Raises
    ------
    ValueError
        There is no method with this name.
    """
    if name not in OPTIMISERS:
        raise ValueError(f"no method {name!r}; the methods are {', '.join(OPTIMISERS)}.")
    return OPTIMISERS[name]()


def paper_grid(rule: Rule, updates: int) -> Iterator[FirstOrder]:
    """Yield a rule with every rate and halving period of the paper's grid.

    Parameters
    ----------
    rule : {"sgd", "momentum", "nesterov", "adam"}
        The rule.
    updates : int
        Number of updates of each run.
    """
    for rate in GRID_RATES:
        for period in GRID_PERIODS:
            yield FirstOrder(rule, rate, period, updates)
