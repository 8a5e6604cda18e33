"""Random parameters and data for small networks."""

from __future__ import annotations

import warnings

import numpy as np
import pytensor
from pytensor.graph.basic import Variable
from pytensor.tensor.random.utils import RandomStream
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

Array = np.ndarray


def weight(rng: np.random.Generator, name: str, *shape: int) -> TensorSharedVariable:
    """Return a weight with entries of the order of 1 over the square root of its inputs."""
    inputs = int(np.prod(shape[:-1])) or 1
    return pytensor.shared(rng.normal(size=shape) / np.sqrt(inputs), name=name)


def small(rng: np.random.Generator, name: str, *shape: int) -> TensorSharedVariable:
    """Return a bias, a shift or a table with small entries, none of them zero."""
    return pytensor.shared(0.2 * rng.normal(size=shape), name=name)


def near_one(rng: np.random.Generator, name: str, *shape: int) -> TensorSharedVariable:
    """Return a scale with entries near 1."""
    return pytensor.shared(1 + 0.2 * rng.normal(size=shape), name=name)


def layer(
    rng: np.random.Generator, name: str, d_in: int, d_out: int
) -> tuple[TensorSharedVariable, TensorSharedVariable]:
    """Return the weight and the bias of a layer."""
    return weight(rng, f"W_{name}", d_in, d_out), small(rng, f"b_{name}", d_out)


def labels(rng: np.random.Generator, count: int, classes: int) -> Array:
    """Return a label for each example."""
    return rng.integers(classes, size=count)


def bits(rng: np.random.Generator, *shape: int) -> Array:
    """Return zeros and ones."""
    return rng.integers(2, size=shape).astype("float64")


def random_bits(seed: int, p: float, shape: Variable) -> TensorVariable:
    """Return zeros and ones from Theano's ``RandomStream``, which PyTensor is about to retire."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return RandomStream(seed).binomial(1, p, size=shape)
