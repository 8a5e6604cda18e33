"""Stacks of affine maps and activations, and the initialisation of their weights."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

Activation = Literal["tanh", "relu", "sigmoid", "linear"]
Initialisation = Literal["glorot-uniform", "he-normal", "sparse"]

ACTIVATIONS: dict[str, Callable[[TensorVariable], TensorVariable]] = {
    "tanh": pt.tanh,
    "relu": lambda h: pt.maximum(h, 0),
    "sigmoid": pt.sigmoid,
    "linear": lambda h: h,
}
GAINS = {"sigmoid": 4.0}
"""Factors by which Glorot-uniform weights before an activation are multiplied, where not 1. The
slope of a sigmoid is at most 1/4; without the gain, the spread over examples would fall by a
factor of four at each layer."""
SPARSE_WEIGHTS = 15
"""Number of nonzero incoming weights per unit in the sparse initialisation."""


@dataclass(frozen=True)
class Stack:
    """Settings of the layers of a multilayer perceptron.

    Attributes
    ----------
    activation : {"tanh", "relu", "sigmoid", "linear"}
        Activation of the hidden layers.
    linear : frozenset of int
        Indices of the hidden layers without an activation, counted from 0.
    initialisation : {"glorot-uniform", "he-normal", "sparse"}
        Distribution of the initial weights: uniform in +-sqrt(6 / (fan_in + fan_out)) times the
        activation's gain; normal with variance 2 / fan_in; or sparse, with 15 incoming weights of
        each unit from N(0, 1) and the others zero.
    residual : bool
        Whether each hidden layer as wide as the preceding hidden layer adds its input to its
        output.
    tied : bool
        Whether the second half of the layers uses the transposed weights of the first half. The
        widths must be symmetric and the number of layers even.
    bias : bool
        Whether layers have biases; they start at zero.
    """

    activation: Activation = "tanh"
    linear: frozenset[int] = frozenset()
    initialisation: Initialisation = "glorot-uniform"
    residual: bool = False
    tied: bool = False
    bias: bool = True

    def build(
        self, x: TensorVariable, sizes: list[int], seed: int, dtype: str
    ) -> tuple[TensorVariable, tuple[SharedVariable, ...]]:
        """Return the linear output of the last layer, and the parameters in forward order.

        Parameters
        ----------
        x : variable, (N, sizes[0])
            The input.
        sizes : list of int
            Widths from the input to the output.
        seed : int
            Seed of the weights.
        dtype : str
            Data type of the parameters.
        """
        weights = self._weights(sizes, np.random.default_rng(seed), dtype)
        parameters: list[SharedVariable] = []
        last = len(sizes) - 2
        for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            shared = self.tied and index > last // 2
            weight = weights[last - index].T if shared else weights[index]
            parameters += [] if shared else [weight]
            h = x @ weight
            if self.bias:
                bias = _shared(np.zeros(fan_out), f"b{index + 1}", dtype)
                parameters.append(bias)
                h = h + bias
            if index != last and index not in self.linear:
                h = ACTIVATIONS[self.activation](h)
            jumped = self.residual and 0 < index < last and fan_in == fan_out
            x = x + h if jumped else h
        return x, tuple(parameters)

    def _weights(
        self, sizes: list[int], rng: np.random.Generator, dtype: str
    ) -> list[SharedVariable]:
        """Draw the weights of all layers, or of the first half if they are tied."""
        last = len(sizes) - 2
        drawn = list(pairwise(sizes))[: (last + 1) // 2 if self.tied else None]
        weights = []
        for index, (fan_in, fan_out) in enumerate(drawn):
            curved = index != last and index not in self.linear
            value = self._draw(rng, fan_in, fan_out, curved)
            weights.append(_shared(value, f"W{index + 1}", dtype))
        return weights

    def _draw(
        self, rng: np.random.Generator, fan_in: int, fan_out: int, curved: bool
    ) -> np.ndarray:
        if self.initialisation == "he-normal":
            return he_normal(rng, fan_in, fan_out)
        if self.initialisation == "sparse":
            return sparse_normal(rng, fan_in, fan_out)
        gain = GAINS.get(self.activation, 1.0) if curved else 1.0
        return glorot_uniform(rng, fan_in, fan_out) * gain


def glorot_uniform(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """Draw a float64 (fan_in, fan_out) matrix, uniform in +-sqrt(6 / (fan_in + fan_out))."""
    limit = np.sqrt(6.0 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def he_normal(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """Draw a float64 (fan_in, fan_out) matrix from N(0, 2 / fan_in)."""
    return rng.normal(0.0, np.sqrt(2.0 / fan_in), (fan_in, fan_out))


def sparse_normal(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """Draw a float64 (fan_in, fan_out) matrix with 15 entries per column from N(0, 1), else 0."""
    kept = min(SPARSE_WEIGHTS, fan_in)
    weights = np.zeros((fan_in, fan_out))
    for column in range(fan_out):
        weights[rng.choice(fan_in, kept, replace=False), column] = rng.normal(size=kept)
    return weights


def _shared(value: np.ndarray, name: str, dtype: str) -> SharedVariable:
    return pytensor.shared(value.astype(dtype), name=name, shape=value.shape)
