"""The networks of the benchmark: widths, activation, loss and batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

import kfgn_graph as kfgn
from experiments.networks import PAPER_HIDDEN, Activation

BATCHES = 4
"""How many batches there are, gone through again and again."""
CAUSES = 10
"""How many numbers an example is made of."""


@dataclass(frozen=True)
class Net:
    """A multilayer perceptron with its batch.

    Attributes
    ----------
    name : str
        Short, for a table and for files.
    sizes : tuple of int
        Widths from input to output.
    activation : {"tanh", "relu", "sigmoid"}
        Of the hidden layers.
    loss : {"bernoulli", "squared", "softmax"}
        Bernoulli stands for an autoencoder, whose batch is its own target.
    batch : int
        Examples.
    """

    name: str
    sizes: tuple[int, ...]
    activation: Activation
    loss: Literal["bernoulli", "squared", "softmax"]
    batch: int

    @property
    def outputs(self) -> int:
        """K."""
        return self.sizes[-1]

    @property
    def reconstructs(self) -> bool:
        """Whether the batch is its own target."""
        return self.loss == "bernoulli"

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum((d_in + 1) * d_out for d_in, d_out in pairwise(self.sizes))

    def network(self) -> kfgn.Network:
        """Build the graph of its loss, float32."""
        return kfgn.perceptron(
            self.sizes, self.loss, self.activation, targets=not self.reconstructs
        )

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return examples and targets of all batches, or labels: functions of ten random numbers.

        A step is tested more often where a network does not learn, as it would of noise.
        """
        rng, count = np.random.default_rng(0), BATCHES * self.batch
        causes = rng.standard_normal((count, CAUSES))

        def shown(width: int) -> np.ndarray:
            mixed = causes @ rng.standard_normal((CAUSES, width)) / np.sqrt(CAUSES)
            return (1 / (1 + np.exp(-2 * mixed))).astype(np.float32)

        x = shown(self.sizes[0])
        y = x if self.reconstructs else shown(self.outputs)
        return x, y.argmax(axis=1) if self.loss == "softmax" else y


_PAPER = (784, *PAPER_HIDDEN, 784)
NETS: Mapping[str, Net] = {
    net.name: net
    for net in (
        *(Net(f"autoencoder-{n}", _PAPER, "tanh", "bernoulli", n) for n in (250, 1000, 4000)),
        Net("classifier", (784, 2000, 2000, 10), "relu", "softmax", 1000),
        Net("deep-narrow", (200,) * 31, "tanh", "squared", 1000),
        Net("regression", (8, 100, 100, 1), "tanh", "squared", 64),
    )
}
"""By name."""
