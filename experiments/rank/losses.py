"""Losses of the study, with the rank that each gives H_L, and the mixture of Eq. (27)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.special import log_softmax
from pytensor.tensor.variable import TensorVariable

Array = np.ndarray
Variable = TensorVariable


@dataclass(frozen=True)
class Loss:
    """A loss of an example.

    Attributes
    ----------
    output : callable
        From the logits h, shape (N, K), to the variable z at which the loss is split from the
        network and in which H_L is meant.
    value : callable
        ``(z, y) -> losses``, shape (N,).
    targets : callable
        ``(rng, labels, K) -> y``, from class labels.
    outputs : int
        K, the number of logits.
    rank : int
        Rank of H_L for one example.
    """

    output: Callable[[Variable], Variable]
    value: Callable[[Variable, Variable], Variable]
    targets: Callable[[Array, int], Array]
    outputs: int
    rank: int


def mixture_probability(h: Variable) -> Variable:
    """Return p(y = 1) of a mixture of two binary classifiers, Eq. (27), shape (N, 1)."""
    gate, first, second = (pt.sigmoid(h[:, [k]]) for k in range(3))
    return gate * first + (1 - gate) * second


def _one_hot(labels: Array, outputs: int) -> Array:
    return np.eye(outputs)[labels % outputs]


def _parity(labels: Array, outputs: int) -> Array:
    return (labels % 2).astype(float)[:, None]


def _same(h: Variable) -> Variable:
    return h


def _cross_entropy(q: Variable, y: Variable) -> Variable:
    return -(y * pt.log(q) + (1 - y) * pt.log(1 - q)).sum(axis=1)


LOSSES = {
    "squared": Loss(
        _same, lambda h, y: 0.5 * ((h - y) ** 2).sum(axis=1), _one_hot, outputs=5, rank=5
    ),
    "softmax": Loss(
        _same, lambda h, y: -(y * log_softmax(h, axis=1)).sum(axis=1), _one_hot, outputs=5, rank=4
    ),
    "bernoulli": Loss(
        _same, lambda h, y: (pt.softplus(h) - y * h).sum(axis=1), _parity, outputs=1, rank=1
    ),
    "mixture": Loss(mixture_probability, _cross_entropy, _parity, outputs=3, rank=1),
}
