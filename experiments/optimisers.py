"""The methods that the experiments compare, behind one interface.

A method is a small frozen record of its settings; its ``compile`` gives a step: a callable that
takes a batch, updates the network's parameters in place and returns the batch's loss before the
update.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np
import pytensor
from pytensor.compile.mode import Mode, get_mode

import kfgn_graph as kfgn
from experiments.networks import Network

Backend = Literal["auto", "jax", "numba", "c"]
MODES = {"jax": "JAX", "numba": "NUMBA", "c": "CVM"}
KRONECKER = {"kfra": kfgn.KFRA, "kflr": kfgn.KFLR, "kfac": kfgn.KFAC}


class Step(Protocol):
    """One update from one batch: arrays in the order of ``Network.inputs``; returns the loss."""

    def __call__(self, *batch: np.ndarray) -> float:
        """Update the parameters; return the batch's loss before the update."""


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


@dataclass(frozen=True)
class GaussNewton:
    """KFRA, KFLR or KFAC by :func:`kfgn_graph.compile_update`, constant damping and step length.

    The defaults suit the paper's autoencoder at a loss summed over pixels, from Glorot-uniform
    weights and in its first few hundred updates: without a step length of its own for every
    update, the first updates need short steps and factors that forget soon.

    Attributes
    ----------
    method : {"kfra", "kflr", "kfac"}
        How the pre-activation factors are made.
    damping : float
        lambda, in the units of the loss.
    step : float
        Step length.
    curvature_decay : float
        Decay of the factors' moving average.
    refresh_every : int
        Updates between two factorisations.
    """

    method: Literal["kfra", "kflr", "kfac"] = "kfra"
    damping: float = 0.003
    step: float = 0.05
    curvature_decay: float = 0.3
    refresh_every: int = 1

    @property
    def name(self) -> str:
        """The paper's name of the method."""
        return self.method.upper()

    @property
    def settings(self) -> str:
        """Damping λ, step length and decay."""
        return f"λ {self.damping:g}, step {self.step:g}, decay {self.curvature_decay:g}"

    def compile(self, network: Network, backend: Backend = "auto", seed: int = 0) -> Step:
        """Compile the update; see :func:`kfgn_graph.compile_update` for what it may raise."""
        update = kfgn.compile_update(
            network.loss,
            list(network.parameters),
            list(network.inputs),
            method=KRONECKER[self.method](),
            damping=kfgn.ConstantDamping(self.damping),
            step=self.step,
            curvature_decay=self.curvature_decay,
            refresh_every=self.refresh_every,
            backend=backend,
            seed=seed,
        )
        return lambda *batch: float(update(*batch).loss)


@dataclass(frozen=True)
class Adam:
    """pytensor-ml's Adam at a constant rate.

    Attributes
    ----------
    rate : float
        Learning rate.
    """

    rate: float = 1e-3

    @property
    def name(self) -> str:
        """The method's name."""
        return "Adam"

    @property
    def settings(self) -> str:
        """The rate."""
        return f"rate {self.rate:g}"

    def compile(self, network: Network, backend: Backend = "auto", seed: int = 0) -> Step:
        """Compile the update; ``seed`` is not used, Adam draws nothing."""
        from pytensor_ml.optim import adam, compile_train

        with pytensor.config.change_flags(floatX=network.loss.dtype):
            step = compile_train(
                network.loss,
                adam(self.rate),
                parameters=list(network.parameters),
                inputs=list(network.inputs),
                compile_kwargs={"mode": backend_mode(backend)},
            )
        return lambda *batch: float(step(*batch))


OPTIMISERS: Mapping[str, Callable[[], Optimiser]] = {
    "kfra": partial(GaussNewton, method="kfra"),
    "kflr": partial(GaussNewton, method="kflr"),
    "kfac": partial(GaussNewton, method="kfac"),
    "adam": Adam,
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


def resolve_backend(backend: Backend) -> Literal["jax", "numba", "c"]:
    """Return the backend that ``"auto"`` stands for: JAX when it is installed, else Numba."""
    if backend == "auto":
        return "jax" if importlib.util.find_spec("jax") else "numba"
    return backend


def backend_mode(backend: Backend) -> Mode:
    """Return the PyTensor mode of a backend, for functions that are no update of ours."""
    return get_mode(MODES[resolve_backend(backend)])
