"""The networks of the experiments, written as anyone writes them in PyTensor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.special import log_softmax
from pytensor.tensor.variable import TensorVariable

Activation = Literal["tanh", "relu", "sigmoid"]
Loss = Literal["bernoulli", "squared"]

PAPER_HIDDEN = (1000, 500, 250, 30, 250, 500, 1000)
"""Widths of the paper's autoencoder between its input and its output."""

ACTIVATIONS: dict[str, Callable[[TensorVariable], TensorVariable]] = {
    "tanh": pt.tanh,
    "relu": lambda h: pt.maximum(h, 0),
    "sigmoid": pt.sigmoid,
}
GAINS = {"tanh": 1.0, "relu": 1.0, "sigmoid": 4.0}
"""What the weights before an activation are multiplied with. A sigmoid's slope is at most 1/4:
without its gain the spread over examples falls by four at each layer."""


@dataclass(frozen=True)
class Network:
    """A network's graph.

    Attributes
    ----------
    loss : scalar variable
        Mean over the batch, in nats for a cross-entropy.
    parameters : tuple of shared variables
        Weight, bias, weight, bias ... in forward order.
    inputs : tuple of variables
        What a compiled update is called with: the examples, then the targets where there are any.
    logits : variable, (N, K)
        The last layer's output, linear.
    reconstruction : variable, (N, K)
        The prediction on the scale of the data: probabilities, or the output itself.
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
    loss: Loss = "bernoulli",
    linear_code: bool = False,
    seed: int = 0,
    dtype: str = "float32",
) -> Network:
    r"""Build the paper's autoencoder, D-1000-500-250-30-250-500-1000-D unless told otherwise.

    The paper names neither the hidden layers' activation nor which of them are linear. Here every
    hidden layer has the activation, the code layer included, as in the authors' later public code
    (tanh there); ``linear_code`` makes the narrowest hidden layer linear. The output is linear.
    Weights are Glorot-uniform, four times that before a sigmoid; biases are zero.

    The loss of a batch is the mean over its N examples of

    .. math:: \sum_k \log(1 + e^{h_k}) - x_k h_k
        \qquad\text{or}\qquad \tfrac12 \sum_k (h_k - x_k)^2

    for ``"bernoulli"`` (cross-entropy from logits, nats, summed over pixels) and ``"squared"``.

    Parameters
    ----------
    dimension : int
        D, the width of the data.
    hidden : sequence of int
        Widths of the hidden layers.
    activation : {"tanh", "relu", "sigmoid"}
        Of the hidden layers.
    loss : {"bernoulli", "squared"}
        See above.
    linear_code : bool
        Whether the narrowest hidden layer is linear.
    seed : int
        Of the weights.
    dtype : str
        Of parameters and inputs.

    Returns
    -------
    Network
        Its one input is the batch, which is also the target.
    """
    sizes = [dimension, *hidden, dimension]
    linear = {int(np.argmin(hidden))} if linear_code else set()
    x = pt.matrix("x", shape=(None, dimension), dtype=dtype)
    logits, parameters = _layers(x, sizes, activation, linear, seed, dtype)
    if loss == "bernoulli":
        example_loss = pt.sum(pt.softplus(logits) - x * logits, axis=1)
        reconstruction = pt.sigmoid(logits)
    else:
        example_loss = pt.sum((logits - x) ** 2, axis=1) / 2
        reconstruction = logits
    return Network(pt.mean(example_loss), parameters, (x,), logits, reconstruction)


def classifier(
    sizes: Sequence[int], activation: Activation = "tanh", seed: int = 0, dtype: str = "float32"
) -> Network:
    """Build a multilayer perceptron with softmax cross-entropy on integer labels.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the classes.
    activation : {"tanh", "relu", "sigmoid"}
        Of the hidden layers.
    seed : int
        Of the weights.
    dtype : str
        Of parameters and inputs.

    Returns
    -------
    Network
        Its inputs are the batch (N, D) and the labels (N,), int64. The loss is in nats, mean over
        the batch.
    """
    x = pt.matrix("x", shape=(None, sizes[0]), dtype=dtype)
    labels = pt.vector("labels", dtype="int64")
    logits, parameters = _layers(x, list(sizes), activation, set(), seed, dtype)
    log_probabilities = log_softmax(logits, axis=1)
    chosen = log_probabilities[pt.arange(labels.shape[0]), labels]
    probabilities = pt.exp(log_probabilities)
    return Network(-pt.mean(chosen), parameters, (x, labels), logits, probabilities)


def regressor(
    sizes: Sequence[int], activation: Activation = "tanh", seed: int = 0, dtype: str = "float32"
) -> Network:
    r"""Build a multilayer perceptron with half the squared distance to the targets as its loss.

    The loss of a batch is the mean of :math:`\tfrac12 \|h - y\|^2`.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the targets.
    activation : {"tanh", "relu", "sigmoid"}
        Of the hidden layers.
    seed : int
        Of the weights.
    dtype : str
        Of parameters, inputs and targets.

    Returns
    -------
    Network
        Its inputs are the batch (N, D) and the targets (N, K).
    """
    x = pt.matrix("x", shape=(None, sizes[0]), dtype=dtype)
    y = pt.matrix("y", shape=(None, sizes[-1]), dtype=dtype)
    output, parameters = _layers(x, list(sizes), activation, set(), seed, dtype)
    example_loss = pt.sum((output - y) ** 2, axis=1) / 2
    return Network(pt.mean(example_loss), parameters, (x, y), output, output)


def glorot_uniform(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    """Draw a (fan_in, fan_out) matrix uniform in +-sqrt(6 / (fan_in + fan_out)); float64."""
    limit = np.sqrt(6.0 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def _layers(
    x: TensorVariable,
    sizes: list[int],
    activation: Activation,
    linear: set[int],
    seed: int,
    dtype: str,
) -> tuple[TensorVariable, tuple[SharedVariable, ...]]:
    """Stack affine layers; the last one and the hidden ones in ``linear`` stay linear."""
    rng = np.random.default_rng(seed)
    last = len(sizes) - 2
    parameters: list[SharedVariable] = []
    for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        curved = index != last and index not in linear
        drawn = glorot_uniform(rng, fan_in, fan_out) * (GAINS[activation] if curved else 1.0)
        weight = pytensor.shared(
            drawn.astype(dtype),
            name=f"W{index + 1}",
            shape=(fan_in, fan_out),
        )
        bias = pytensor.shared(np.zeros(fan_out, dtype), name=f"b{index + 1}", shape=(fan_out,))
        parameters += [weight, bias]
        x = x @ weight + bias
        if curved:
            x = ACTIVATIONS[activation](x)
    return x, tuple(parameters)
