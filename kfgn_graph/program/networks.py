"""The networks that specs declare, written as anyone writes them in PyTensor."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.special import log_softmax
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import SpecError
from kfgn_graph.program.stacks import Activation, Initialisation, Stack

Loss = Literal["bernoulli", "squared", "softmax"]


@dataclass(frozen=True)
class Network:
    """The graph of a network and its loss, with N examples and K outputs.

    Attributes
    ----------
    loss : scalar variable
        Mean loss over the batch, in nats for a cross-entropy.
    parameters : tuple of shared variables
        Weights and biases, alternating, in forward order.
    inputs : tuple of variables
        The arguments of a compiled update: the examples, then the targets if there are any.
    logits : variable, shape (N, K)
        The output of the last layer, which is linear.
    reconstruction : variable, shape (N, K)
        The prediction on the scale of the data: probabilities, or the output itself.
    """

    loss: TensorVariable
    parameters: tuple[SharedVariable, ...]
    inputs: tuple[TensorVariable, ...]
    logits: TensorVariable
    reconstruction: TensorVariable


def perceptron(
    sizes: Sequence[int],
    loss: Loss,
    activation: Activation = "tanh",
    *,
    targets: bool = True,
    linear: Collection[int] = (),
    initialisation: Initialisation = "glorot-uniform",
    residual: bool = False,
    tied: bool = False,
    bias: bool = True,
    seed: int = 0,
    dtype: str = "float32",
) -> Network:
    r"""Build a multilayer perceptron with a linear output h and one of three losses.

    The loss of a batch is the mean over its examples of

    .. math:: \sum_k \log(1 + e^{h_k}) - y_k h_k, \qquad \tfrac12 \sum_k (h_k - y_k)^2
        \qquad\text{or}\qquad \log \sum_k e^{h_k} - h_y.

    Parameters
    ----------
    sizes : sequence of int
        Widths from the input to the output, at least two.
    loss : {"bernoulli", "squared", "softmax"}
        The loss, in the order of the formulas: binary cross-entropy from logits, half the squared
        distance, cross-entropy of classes.
    activation : {"tanh", "relu", "sigmoid", "linear"}
        Activation of the hidden layers.
    targets : bool
        Whether there are targets y beside the examples x. Without them y is x, as in an
        autoencoder.
    linear : collection of int
        Hidden layers without activation, counted from 0; negative numbers count from the last.
    initialisation : {"glorot-uniform", "he-normal", "sparse"}
        Distribution of the initial weights: uniform in
        :math:`\pm\sqrt{6 / (d_\text{in} + d_\text{out})}`, four times that before a sigmoid;
        normal with variance :math:`2 / d_\text{in}`; or 15 incoming weights of each unit from
        N(0, 1), the rest zero.
    residual : bool
        Whether a hidden layer as wide as the hidden layer before it adds its input to its output.
    tied : bool
        Whether the weights of the second half are those of the first half, transposed. The widths
        must be symmetric and the number of layers even.
    bias : bool
        Whether layers have biases; they start at zero.
    seed : int
        Seed of the weights.
    dtype : {"float32", "float64"}
        Type of parameters, examples and targets; the labels of ``"softmax"`` are int64.

    Returns
    -------
    Network
        Its inputs are the examples (N, sizes[0]) and the targets (N, sizes[-1]), or labels (N,)
        for ``"softmax"``.

    Raises
    ------
    SpecError
        A setting has a value that is not allowed, or does not fit the widths.

    Examples
    --------
    >>> network = kfgn_graph.perceptron([64, 50, 10], "softmax")  # doctest: +SKIP
    >>> update = kfgn_graph.compile_update(
    ...     network.loss, network.parameters, network.inputs
    ... )  # doctest: +SKIP
    """
    _check_choice("loss", loss, Loss)
    _check_choice("activation", activation, Activation)
    _check_choice("initialisation", initialisation, Initialisation)
    _check_sizes(sizes, targets, tied)
    if not targets and loss == "softmax":
        raise SpecError('targets: "softmax" needs labels, which are no examples.')
    stack = Stack(
        activation, _hidden_layers(linear, len(sizes) - 2), initialisation, residual, tied, bias
    )
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


def _check_choice(setting: str, value: str, allowed: object) -> None:
    choices = get_args(allowed)
    if value not in choices:
        raise SpecError(f"{setting}: found {value!r}; allowed: {', '.join(choices)}.")


def _check_sizes(sizes: Sequence[int], targets: bool, tied: bool) -> None:
    shown = "-".join(map(str, sizes))
    if len(sizes) < 2 or min(sizes) < 1:
        raise SpecError(f"sizes: found {shown or 'none'}; two or more positive widths are needed.")
    if not targets and sizes[0] != sizes[-1]:
        raise SpecError(f"sizes: found {shown}; without targets both ends must be equally wide.")
    if tied and (list(sizes) != list(reversed(sizes)) or len(sizes) % 2 == 0):
        raise SpecError(
            f"sizes: found {shown}; tied weights need symmetric widths and an even number of "
            "layers."
        )


def _hidden_layers(linear: Collection[int], count: int) -> frozenset[int]:
    """Return the indices of hidden layers, all of them counted from 0."""
    for index in linear:
        if not -count <= index < count:
            raise SpecError(f"linear: found {index}; there are {count} hidden layers.")
    return frozenset(index % count for index in linear)
