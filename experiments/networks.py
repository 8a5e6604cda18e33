"""The networks of the experiments: the paper's autoencoder, a classifier and a regressor."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

import kfgn_graph as kfgn

Activation = Literal["tanh", "relu", "sigmoid", "linear"]

PAPER_HIDDEN = (1000, 500, 250, 30, 250, 500, 1000)
"""Widths of the paper's autoencoder between its input and its output."""


def autoencoder(
    dimension: int,
    hidden: Sequence[int] = PAPER_HIDDEN,
    activation: Activation = "tanh",
    loss: Literal["bernoulli", "squared"] = "bernoulli",
    linear_code: bool = False,
    seed: int = 0,
    dtype: str = "float32",
) -> kfgn.Network:
    """Build the paper's autoencoder, by default D-1000-500-250-30-250-500-1000-D.

    The paper names neither the activation of the hidden layers nor which of them are linear. Here
    every hidden layer has the activation, the code layer included, as in the authors' later public
    code (tanh there); ``linear_code`` makes the narrowest hidden layer linear.

    Parameters
    ----------
    dimension : int
        D, the width of the data.
    hidden : sequence of int
        Widths of the hidden layers.
    activation : {"tanh", "relu", "sigmoid", "linear"}
        Activation of the hidden layers.
    loss : {"bernoulli", "squared"}
        As of :func:`kfgn_graph.perceptron`; cross-entropy in nats, summed over pixels.
    linear_code : bool
        Whether the narrowest hidden layer is linear.
    seed : int
        Seed of the weights.
    dtype : str
        Type of parameters and examples.

    Returns
    -------
    Network
        Its one input is the batch, which is also the target.
    """
    linear = [int(np.argmin(hidden))] if linear_code else []
    return kfgn.perceptron(
        [dimension, *hidden, dimension],
        loss,
        activation,
        targets=False,
        linear=linear,
        seed=seed,
        dtype=dtype,
    )


def classifier(
    sizes: Sequence[int], activation: Activation = "tanh", seed: int = 0, dtype: str = "float32"
) -> kfgn.Network:
    """Build a multilayer perceptron with softmax cross-entropy on integer labels, in nats."""
    return kfgn.perceptron(sizes, "softmax", activation, seed=seed, dtype=dtype)


def regressor(
    sizes: Sequence[int], activation: Activation = "tanh", seed: int = 0, dtype: str = "float32"
) -> kfgn.Network:
    """Build a multilayer perceptron with half the squared distance to the targets as its loss."""
    return kfgn.perceptron(sizes, "squared", activation, seed=seed, dtype=dtype)
