"""The problems of the study: data, network, batch and length, none of them tuned."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

import kfgn_graph as kfgn
from experiments.networks import Activation, autoencoder, classifier, regressor

MNIST_COUNT = 50_000
SUMMED = {"adam": (3e-4, 1e-3, 3e-3, 1e-2), "nesterov": (2**-12, 2**-10, 2**-8, 2**-6)}
"""Rates for losses summed over hundreds of outputs."""
SINGLE = {"adam": (1e-3, 3e-3, 1e-2, 3e-2, 0.1), "nesterov": (0.01, 0.03, 0.1, 0.3)}
"""Rates for losses of a few outputs."""


@dataclass(frozen=True)
class Material:
    """What a problem is trained on.

    Attributes
    ----------
    arrays : tuple of ndarray
        In the order of the network's inputs.
    floor : float
        What no loss is below; 0 where nothing better is known.
    """

    arrays: tuple[np.ndarray, ...]
    floor: float = 0.0


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes
    ----------
    name : str
        For the command line and the table.
    load : callable
        Without arguments; gives the material.
    build : callable
        Seed of the weights to the network.
    batch, updates : int
        Examples a batch, and updates of every run.
    seeds : tuple of int
        Of weights and batches.
    rates : mapping
        First-order rule to its grid of rates.
    outputs : int
        K; KFLR runs only where it is small.
    """

    name: str
    load: Callable[[], Material]
    build: Callable[[int], kfgn.Network]
    batch: int
    updates: int
    seeds: tuple[int, ...]
    rates: Mapping[str, tuple[float, ...]]
    outputs: int


def standardised(values: np.ndarray) -> np.ndarray:
    """Give every column mean 0 and variance 1; a constant column becomes 0."""
    centred = values - values.mean(axis=0, dtype=np.float64)
    deviation = centred.std(axis=0)
    return (centred / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)


def _bernoulli(load: Callable[[], kfgn.Dataset]) -> Material:
    data = load()
    return Material((data.inputs,), data.entropy())


def _squared(load: Callable[[], kfgn.Dataset]) -> Material:
    return Material((load().inputs,))


def _labelled(load: Callable[[], kfgn.Dataset]) -> Material:
    data = load()
    assert data.targets is not None
    return Material((data.inputs, data.targets))


def _regression(load: Callable[[], kfgn.Dataset]) -> Material:
    data = load()
    assert data.targets is not None
    return Material((standardised(data.inputs), standardised(data.targets[:, None])))


_mnist = partial(kfgn.load_data, "mnist", count=MNIST_COUNT)
_MNIST = lru_cache(maxsize=1)(partial(_bernoulli, _mnist))
_CURVES = lru_cache(maxsize=1)(partial(_bernoulli, partial(kfgn.load_data, "curves")))
_FACES = lru_cache(maxsize=1)(partial(_squared, partial(kfgn.load_data, "faces")))
_DIGITS = lru_cache(maxsize=1)(partial(_labelled, partial(kfgn.load_data, "digits")))
_MNIST_LABELS = lru_cache(maxsize=1)(partial(_labelled, _mnist))


def _autoencoder(
    name: str,
    load: Callable[[], Material],
    width: int,
    activation: Activation = "tanh",
    batch: int = 1000,
    loss: str = "bernoulli",
) -> Problem:
    def build(seed: int) -> kfgn.Network:
        return autoencoder(width, activation=activation, loss=loss, seed=seed)  # type: ignore[arg-type]

    return Problem(name, load, build, batch, 200, (0, 1), SUMMED, width)


def _classifier(
    name: str,
    load: Callable[[], Material],
    sizes: tuple[int, ...],
    activation: Activation,
    batch: int,
    updates: int,
    seeds: tuple[int, ...],
) -> Problem:
    build = partial(_build_classifier, sizes, activation)
    return Problem(name, load, build, batch, updates, seeds, SINGLE, sizes[-1])


def _build_classifier(sizes: tuple[int, ...], activation: Activation, seed: int) -> kfgn.Network:
    return classifier(sizes, activation, seed)


def _uci(name: str, features: int, batch: int) -> Problem:
    def build(seed: int) -> kfgn.Network:
        return regressor((features, 50, 50, 1), "tanh", seed)

    load = partial(_regression, partial(kfgn.load_data, f"uci/{name}"))
    return Problem(name, load, build, batch, 500, (0, 1, 2), SINGLE, 1)


PROBLEMS: Mapping[str, Problem] = {
    problem.name: problem
    for problem in (
        _autoencoder("mnist-tanh", _MNIST, 784),
        _autoencoder("mnist-tanh-250", _MNIST, 784, batch=250),
        _autoencoder("mnist-relu", _MNIST, 784, "relu"),
        _autoencoder("mnist-sigmoid", _MNIST, 784, "sigmoid"),
        _autoencoder("curves", _CURVES, 784),
        _autoencoder("faces", _FACES, 625, loss="squared"),
        _classifier(
            "mnist-classes", _MNIST_LABELS, (784, 300, 100, 10), "relu", 1000, 300, (0, 1)
        ),
        _classifier("digits-classes", _DIGITS, (64, 50, 50, 10), "tanh", 250, 300, (0, 1, 2)),
        _uci("concrete", 8, 250),
        _uci("power-plant", 4, 1000),
    )
}
"""All problems by name."""
