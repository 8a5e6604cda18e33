"""The methods that the experiments compare, behind one interface.

A method is a small frozen record of its settings; its ``compile`` gives a step: an object that is
called with a batch, updates the network's parameters in place and returns the batch's loss before
the update. :func:`optimiser` makes a method from its name, so that an experiment swaps them by
name. What is left at None is the package's default.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import pytensor
from pytensor.compile.mode import Mode, get_mode

import kfgn_graph as kfgn
from kfgn_graph.program.networks import Network

Backend = Literal["auto", "jax", "numba", "c"]
Rule = Literal["sgd", "momentum", "nesterov", "adam"]
MODES = {"jax": "JAX", "numba": "NUMBA", "c": "CVM"}
CURVATURES = {"kfra": "KFRA", "kflr": "KFLR", "kfac": "KFAC", "hessianfree": "HessianFree"}
RULES = {"sgd": "SGD", "momentum": "Momentum", "nesterov": "Nesterov", "adam": "Adam"}
MOMENTUM = 0.9
GRID_RATES = tuple(2.0**-power for power in range(6, 14))
"""The paper's grid of learning rates, largest first."""
GRID_PERIODS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""The paper's grid of halving periods, in shares of a run's updates; 1 is a constant rate."""


class Step(Protocol):
    """One update from one batch: arrays in the order of ``Network.inputs``; returns the loss."""

    def __call__(self, *batch: np.ndarray) -> float:
        """Update the parameters; return the batch's loss before the update."""

    @property
    def skipped(self) -> int:
        """Updates so far that were given up."""

    def statistics(self) -> dict[str, float]:
        """Return what the last update reported of itself; empty where it reports nothing."""

    def averaged(self) -> Mapping[str, np.ndarray] | None:
        """Return the averaged iterates by parameter name, where there are any."""


class Optimiser(Protocol):
    """A method with its settings."""

    @property
    def name(self) -> str:
        """Short name, as ``"KFRA"``."""

    @property
    def settings(self) -> str:
        """What was chosen, in a few words for a table."""

    def compile(self, network: Network, backend: Backend = "auto", seed: int = 0) -> Step:
        """Build the step; a backend that compiles late does so at the step's first call."""


class _PackageStep:
    """A compiled update of :mod:`kfgn_graph`."""

    def __init__(self, update: Any, averages: bool) -> None:
        self._update = update
        self._averages = averages
        self._last: Any = None
        self.skipped = 0

    def __call__(self, *batch: np.ndarray) -> float:
        self._last = self._update(*batch)
        self.skipped += self._last.skipped
        return float(self._last.loss)

    def statistics(self) -> dict[str, float]:
        if self._last is None:
            return {}
        return {name: float(value) for name, value in self._last.as_dict().items()}

    def averaged(self) -> Mapping[str, np.ndarray] | None:
        if not self._averages:
            return None
        return {name: np.asarray(value) for name, value in self._update.averaged().items()}


class _PlainStep:
    """A compiled function that returns the loss and reports nothing else."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.skipped = 0

    def __call__(self, *batch: np.ndarray) -> float:
        return float(self._function(*batch))

    def statistics(self) -> dict[str, float]:
        return {}

    def averaged(self) -> None:
        return None


@dataclass(frozen=True)
class GaussNewton:
    """A method of :func:`kfgn_graph.compile_update`; None stands for the package's default.

    Attributes
    ----------
    method : {"kfra", "kflr", "kfac", "hessianfree"}
        How the curvature is made.
    damping : float or None
        A constant lambda, in the units of the loss, instead of the default that adapts.
    step : float or None
        A constant step length instead of the default that adapts.
    curvature_decay : float or None
        Decay of the factors' moving average.
    factors_every : int or None
        Updates between two estimates of the factors.
    refresh_every : int or None
        Updates between two inversions.
    average : bool
        Whether averaged iterates are kept, and evaluated beside the parameters.
    """

    method: Literal["kfra", "kflr", "kfac", "hessianfree"] = "kfra"
    damping: float | None = None
    step: float | None = None
    curvature_decay: float | None = None
    factors_every: int | None = None
    refresh_every: int | None = None
    average: bool = False

    @property
    def name(self) -> str:
        """The method's name in the literature."""
        return "Hessian-free" if self.method == "hessianfree" else CURVATURES[self.method]

    @property
    def settings(self) -> str:
        """What is not left to the package."""
        chosen = [
            f"{word} {value:g}" for word, value in self._named().items() if value is not None
        ]
        return ", ".join([*chosen, *(["averaged"] if self.average else [])]) or "defaults"

    def _named(self) -> dict[str, float | None]:
        return {
            "λ": self.damping,
            "step": self.step,
            "decay": self.curvature_decay,
            "factors every": self.factors_every,
            "inverses every": self.refresh_every,
        }

    def compile(self, network: Network, backend: Backend = "auto", seed: int = 0) -> Step:
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
        return _PackageStep(update, self.average)

    def _chosen(self) -> dict[str, Any]:
        """Return the arguments that are not left to the package."""
        damping = None if self.damping is None else kfgn.ConstantDamping(self.damping)
        arguments = {
            "damping": damping,
            "step": self.step,
            "curvature_decay": self.curvature_decay,
            "factors_every": self.factors_every,
            "refresh_every": self.refresh_every,
            "average_iterates": self.average or None,
        }
        return {name: value for name, value in arguments.items() if value is not None}


@dataclass(frozen=True)
class FirstOrder:
    """A first-order method of pytensor-ml, with the paper's halving of the rate.

    Attributes
    ----------
    rule : {"sgd", "momentum", "nesterov", "adam"}
        Plain gradient descent, with momentum 0.9, with Nesterov's, or Adam.
    rate : float
        Learning rate of the first updates.
    period : float
        The rate is halved whenever this share of the run's updates is done; 1 keeps it constant.
    updates : int or None
        Updates of the run; needed where ``period`` is below 1.

    Raises
    ------
    ValueError
        An unknown rule, a rate or period that is not positive, a period above 1, or one below 1
        without the number of updates.
    """

    rule: Rule = "adam"
    rate: float = 1e-3
    period: float = 1.0
    updates: int | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"No rule {self.rule!r}; there are {', '.join(RULES)}.")
        if self.rate <= 0 or not 0 < self.period <= 1:
            raise ValueError(f"The rate has to be positive, the period in (0, 1]; got {self}.")
        if self.period < 1 and self.updates is None:
            raise ValueError("A rate that is halved needs the run's number of updates.")

    @property
    def name(self) -> str:
        """The rule's name."""
        return RULES[self.rule]

    @property
    def settings(self) -> str:
        """The rate, and how often it is halved."""
        halving = "" if self.period == 1 else f", halved every {100 * self.period:g} %"
        return f"rate {self.rate:.3g}{halving}"

    @property
    def halve_every(self) -> int | None:
        """Updates between two halvings; None for a constant rate."""
        if self.period == 1 or self.updates is None:
            return None
        return max(1, round(self.period * self.updates))

    def compile(self, network: Network, backend: Backend = "auto", seed: int = 0) -> Step:
        """Compile the update; ``seed`` is not used, nothing is drawn."""
        from pytensor_ml.optim import compile_train

        mode = backend_mode(backend)
        with pytensor.config.change_flags(floatX=network.loss.dtype):
            function = compile_train(
                network.loss,
                self._transform(),
                parameters=list(network.parameters),
                inputs=list(network.inputs),
                compile_kwargs={"mode": mode},
            )
        return _PlainStep(function)

    def _transform(self) -> Any:
        from pytensor_ml.optim import adam, sgd, step_decay

        rate: Any = self.rate
        if self.halve_every is not None:
            rate = step_decay(self.rate, decay_every=self.halve_every, decay_factor=0.5)
        if self.rule == "adam":
            return adam(rate)
        momentum = 0.0 if self.rule == "sgd" else MOMENTUM
        return sgd(rate, momentum=momentum, nesterov=self.rule == "nesterov")


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
        No such method.
    """
    if name not in OPTIMISERS:
        raise ValueError(f"No method {name!r}; there are {', '.join(OPTIMISERS)}.")
    return OPTIMISERS[name]()


def paper_grid(rule: Rule, updates: int) -> Iterator[FirstOrder]:
    """Yield a rule at every rate and halving period of the paper's grid, for a run's updates."""
    for rate in GRID_RATES:
        for period in GRID_PERIODS:
            yield FirstOrder(rule, rate, period, updates)


def resolve_backend(backend: Backend) -> Literal["jax", "numba", "c"]:
    """Return the backend that ``"auto"`` stands for: JAX when it is installed, else Numba."""
    if backend == "auto":
        return "jax" if importlib.util.find_spec("jax") else "numba"
    return backend


def backend_mode(backend: Backend) -> Mode:
    """Return the PyTensor mode of a backend, for functions that are no update of ours.

    PyTensor sets JAX's precision by ``floatX`` when its JAX part is first imported, which must
    therefore not happen while ``floatX`` is changed.
    """
    if resolve_backend(backend) == "jax":
        importlib.import_module("pytensor.link.jax.dispatch")
    return get_mode(MODES[resolve_backend(backend)])
