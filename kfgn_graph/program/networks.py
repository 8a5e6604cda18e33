"""The networks of the experiments and of specs, in ordinary PyTensor code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.special import log_softmax
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.program.stacks import ACTIVATIONS, Activation, Stack, glorot_uniform

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Loss",
    "Network",
    "PAPER_HIDDEN",
    "autoencoder",
    "classifier",
    "glorot_uniform",
    "perceptron",
    "regressor",
]

Loss = Literal["bernoulli", "squared", "softmax"]

PAPER_HIDDEN = (1000, 500, 250, 30, 250, 500, 1000)
"""Widths of the paper's autoencoder between its input and its output."""


@dataclass(frozen=True)
class Network:
    """A network's graph.

    Attributes
    ----------
    loss : scalar variable
        Mean loss over the batch, in nats for a cross-entropy.
    parameters : tuple of shared variables
        Weights and biases, alternating, in forward order.
    inputs : tuple of variables
        Arguments of a compiled update: the examples, then the targets if there are any.
    logits : variable, (N, K)
        Output of the last layer, which is linear.
    reconstruction : variable, (N, K)
        Prediction on the scale of the data: probabilities, or the output itself.
    """

    loss: TensorVariable
    parameters: tuple[SharedVariable, ...]
    inputs: tuple[TensorVariable, ...]
    logits: TensorVariable
    reconstruction: TensorVariable


def autoencoder(
    dimension: int,
    hidden: Sequence[int] = PAPER_HIDDEN,
    activation: Activation = "tanh",
    loss: Literal["bernoulli", "squared"] = "bernoulli",
    linear_code: bool = False,
    seed: int = 0,
    dtype: str = "float32",
) -> Network:
    r"""Build the paper's autoencoder, D-1000-500-250-30-250-500-1000-D by default.

    The paper states neither the activation of the hidden layers nor which of them are linear. Here
    every hidden layer, including the code layer, has the activation, as in the authors' later
    public code, which uses tanh. ``linear_code`` makes the narrowest hidden layer linear. The
    output is linear. Weights are Glorot-uniform, four times as wide before a sigmoid; biases are
    zero.

    The loss of a batch is the mean over its N examples of

    .. math:: \sum_k \log(1 + e^{h_k}) - x_k h_k
        \qquad\text{or}\qquad \tfrac12 \sum_k (h_k - x_k)^2

    for ``"bernoulli"`` (cross-entropy from logits in nats, summed over pixels) and ``"squared"``.

    Parameters
    ----------
    dimension : int
        Width of the data, D.
    hidden : sequence of int
        Widths of the hidden layers.
    activation : {"tanh", "relu", "sigmoid"}
        Activation of the hidden layers.
    loss : {"bernoulli", "squared"}
        The loss, as above.
    linear_code : bool
        Whether the narrowest hidden layer is linear.
    seed : int
        Seed of the weights.
    dtype : str
        Data type of parameters and inputs.

    Returns
    -------
    Network
        The network. Its only input is the batch, which is also the target.
    """
    linear = frozenset({int(np.argmin(hidden))} if linear_code else ())
    stack = Stack(activation, linear)
    return perceptron([dimension, *hidden, dimension], loss, False, stack, seed, dtype)


def classifier(
    sizes: Sequence[int], activation: Activation = "tanh", seed: int = 0, dtype: str = "float32"
) -> Network:
    """Build a multilayer perceptron with softmax cross-entropy on integer labels.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the classes.
    activation : {"tanh", "relu", "sigmoid"}
        Activation of the hidden layers.
    seed : int
        Seed of the weights.
    dtype : str
        Data type of parameters and inputs.

    Returns
    -------
    Network
        The network. Its inputs are the batch (N, D) and the labels (N,), int64. The loss is the
        mean over the batch, in nats.
    """
    return perceptron(sizes, "softmax", True, Stack(activation), seed, dtype)


def regressor(
    sizes: Sequence[int], activation: Activation = "tanh", seed: int = 0, dtype: str = "float32"
) -> Network:
    r"""Build a multilayer perceptron with half the squared error as its loss.

    The loss of a batch is the mean of :math:`\tfrac12 \|h - y\|^2`.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the targets.
    activation : {"tanh", "relu", "sigmoid"}
        Activation of the hidden layers.
    seed : int
        Seed of the weights.
    dtype : str
        Data type of parameters, inputs and targets.

    Returns
    -------
    Network
        The network. Its inputs are the batch (N, D) and the targets (N, K).
    """
    return perceptron(sizes, "squared", True, Stack(activation), seed, dtype)


def perceptron(
    sizes: Sequence[int], loss: Loss, targets: bool, stack: Stack, seed: int, dtype: str
) -> Network:
    r"""Build a multilayer perceptron with a linear output h and one of three losses.

    The loss of a batch is the mean over its examples of

    .. math:: \sum_k \log(1 + e^{h_k}) - y_k h_k, \qquad \tfrac12 \sum_k (h_k - y_k)^2
        \qquad\text{or}\qquad \log \sum_k e^{h_k} - h_y.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output.
    loss : {"bernoulli", "squared", "softmax"}
        The loss, in the order above.
    targets : bool
        Whether there are targets y besides the examples x; otherwise y is x.
    stack : Stack
        Settings of the layers.
    seed : int
        Seed of the weights.
    dtype : str
        Data type of parameters, examples and targets; the labels of softmax are int64.

    Returns
    -------
    Network
        The network. Its inputs are the batch (N, D) and the targets (N, K) or labels (N,), if it
        has any.
    """
    x = pt.matrix("x", shape=(None, sizes[0]), dtype=dtype)
    h, parameters = stack.build(x, list(sizes), seed, dtype)
    if loss == "softmax":
        labels = pt.vector("labels", dtype="int64")
        log_probabilities = log_softmax(h, axis=1)
        chosen = log_probabilities[pt.arange(labels.shape[0]), labels]
        return Network(-pt.mean(chosen), parameters, (x, labels), h, pt.exp(log_probabilities))
    y = pt.matrix("y", shape=(None, sizes[-1]), dtype=dtype) if targets else x
    if loss == "bernoulli":
        example_loss = pt.sum(pt.softplus(h) - y * h, axis=1)
    else:
        example_loss = pt.sum((h - y) ** 2, axis=1) / 2
    prediction = pt.sigmoid(h) if loss == "bernoulli" else h
    inputs = (x, y) if targets else (x,)
    return Network(pt.mean(example_loss), parameters, inputs, h, prediction)
