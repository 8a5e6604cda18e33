"""The update, transcribed: a chain net trained in NumPy by KFRA or KFLR."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, logsumexp

from tests.reference import recursions
from tests.reference.kronecker import solve

Array = np.ndarray


def squared_error(z: Array, y: Array) -> tuple[float, Array, Array]:
    """Return value, gradient and Hessian of the batch mean of ``|z - y|^2 / 2``."""
    n, k = z.shape
    return (
        float(0.5 * np.sum((z - y) ** 2) / n),
        (z - y) / n,
        np.stack([np.eye(k)] * n) / n,
    )


def bernoulli(z: Array, y: Array) -> tuple[float, Array, Array]:
    """Return those of the batch mean of the summed cross-entropy from logits."""
    n = len(z)
    q = expit(z)
    value = np.sum(np.logaddexp(0, z) - y * z) / n
    return float(value), (q - y) / n, np.stack([np.diag(row * (1 - row)) for row in q]) / n


def softmax(z: Array, y: Array) -> tuple[float, Array, Array]:
    """Return those of the batch mean of the softmax cross-entropy with integer labels."""
    n, k = z.shape
    p = np.exp(z - logsumexp(z, axis=1, keepdims=True))
    value = -np.mean([np.log(p[i, label]) for i, label in enumerate(y)])
    hessian = np.stack([np.diag(row) - np.outer(row, row) for row in p])
    return float(value), (p - np.eye(k)[y]) / n, hessian / n


HEADS = {"half_rows": squared_error, "bernoulli": bernoulli, "labels": softmax}
#: How many updates invert the factors of their own batch whatever the period.
REFRESHED_FIRST = 50

METHODS = {"KFRA": recursions.kfra, "KFLR": recursions.kflr}


@dataclass
class Trainer:
    """A chain net with biases, and what its training remembers.

    Attributes
    ----------
    weights, biases : list of arrays
    activations : sequence of str
    head, method : str
        Keys of ``HEADS`` and ``METHODS``.
    gamma : float
        The damping shared by the two factors of each layer.
    l2 : float
        Adds ``l2 / 2`` times the sum of squares of all parameters to the loss, so ``l2`` times
        them to the gradient.
    decay : float
        The largest weight of the past in the moving averages.
    refresh_every : int
        The factors solved with are those of the first updates, ``REFRESHED_FIRST`` of them, and of
        every multiple of it.
    """

    weights: list[Array]
    biases: list[Array]
    activations: Sequence[str]
    head: str
    method: str
    gamma: float
    l2: float = 0.0
    decay: float = 0.95
    refresh_every: int = 1
    averages: list[tuple[Array, Array]] = field(default_factory=list)
    solved_with: list[tuple[Array, Array]] = field(default_factory=list)
    updates: int = 0

    def batch_factors(
        self, x: Array, y: Array
    ) -> tuple[float, list[Array], list[Array], list[Array]]:
        """Return the loss, and of each layer gradient, Q and G, on one batch."""
        run = recursions.forward(self.weights, self.biases, self.activations, x)
        loss, gradient, hessian = HEADS[self.head](run.output, y)
        slopes = recursions.gradients(run, self.weights, gradient)
        Qs = [recursions.input_factor(a, biased=True) for a in run.inputs]
        return loss, slopes, Qs, METHODS[self.method](self.weights, run, hessian)

    def update(self, x: Array, y: Array) -> float:
        """Take one step of length one; return the loss before it, without ``l2``."""
        loss, slopes, Qs, Gs = self.batch_factors(x, y)
        self.updates += 1
        past = min(1 - 1 / self.updates, self.decay)
        old = self.averages or list(zip(Qs, Gs, strict=True))
        self.averages = [
            (past * Q0 + (1 - past) * Q, past * G0 + (1 - past) * G)
            for (Q0, G0), Q, G in zip(old, Qs, Gs, strict=True)
        ]
        if self.updates <= REFRESHED_FIRST or self.updates % self.refresh_every == 0:
            self.solved_with = self.averages
        for i, ((Q, G), slope) in enumerate(zip(self.solved_with, slopes, strict=True)):
            theta = np.vstack([self.weights[i], self.biases[i]])
            theta = theta - solve(Q, G, slope + self.l2 * theta, self.gamma)
            self.weights[i], self.biases[i] = theta[:-1], theta[-1]
        return loss

    def train(self, batches: Iterable[tuple[Array, Array]]) -> list[float]:
        """Take one step on each batch; return the losses before each."""
        return [self.update(x, y) for x, y in batches]
