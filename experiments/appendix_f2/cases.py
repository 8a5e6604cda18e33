"""The networks of the study, their data, and the size of every part of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

import kfgn_graph as kfgn
from experiments.networks import PAPER_HIDDEN, Activation
from experiments.optimisers import FirstOrder, GaussNewton, Optimiser

Array = np.ndarray
Data = tuple[Array, ...]
OPTIMISERS: Mapping[str, Optimiser] = {"KFRA": GaussNewton("kfra"), "Adam": FirstOrder("adam")}
"""The training runs along which updates are compared, each with the package's defaults."""
EXACT_SAMPLES = 0
"""Stands for KFLR among numbers of samples: all columns of the square root, none drawn."""


@dataclass(frozen=True)
class Case:
    """A network, and what is measured on it.

    Attributes
    ----------
    name : str
        Of the case.
    sizes : tuple of int
        Widths from the input to the output.
    loss : {"softmax", "bernoulli", "squared"}
        ``"softmax"`` classifies the labels; with the others the network is an autoencoder.
    points : mapping
        Run, as ``"KFRA"``, to the numbers of updates after which it is looked at.
    batches : mapping
        Number of examples to the number of batches of that size. The largest is the reference
        that smaller ones are also compared with.
    dampings : tuple of float
        lambda in units of the mean eigenvalue of the curvature on the largest batch.
    samples : tuple of int
        Samples of KFAC for each example.
    draws : int
        Independent draws of KFAC on each batch.
    kflr : bool
        Whether KFLR is computed: K columns for each example.
    activations : tuple of str
        Activations of the hidden layers.
    data : str
        Name of the data set.
    pooled : bool
        Whether images are averaged over squares of 2 by 2 pixels.
    examples : int
        Examples that are trained on, the first of the data set.
    train_batch : int
        Examples of a batch of the training run.
    chunk : int
        Examples at a time of products and of KFAC.
    column_chunk : int
        Examples at a time of KFLR.
    dtype : str
        Of the measurements; training is in float32.
    tolerance : float
        Bound on the relative error of the exact updates.
    seed : int
        Of weights, batches and draws.
    """

    name: str
    sizes: tuple[int, ...]
    loss: Literal["softmax", "bernoulli", "squared"]
    points: Mapping[str, tuple[int, ...]]
    batches: Mapping[int, int]
    dampings: tuple[float, ...]
    samples: tuple[int, ...] = (1, 10)
    draws: int = 3
    kflr: bool = True
    activations: tuple[Activation, ...] = ("tanh", "relu")
    data: str = "mnist"
    pooled: bool = False
    examples: int = 5000
    train_batch: int = 1000
    chunk: int = 1000
    column_chunk: int = 100
    dtype: str = "float64"
    tolerance: float = 0.02
    seed: int = field(default=0)

    @property
    def digest(self) -> str:
        """Short name of all of these settings: results of other settings are not taken."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]

    @property
    def estimates(self) -> dict[str, tuple[str, int]]:
        """Return the Kronecker estimates by name: the method, and its number of samples."""
        found = {"KFRA": ("KFRA", EXACT_SAMPLES)}
        if self.kflr:
            found["KFLR"] = ("KFLR", EXACT_SAMPLES)
        return found | {f"KFAC {count}": ("KFAC", count) for count in self.samples}

    def network(self, activation: Activation, dtype: str) -> kfgn.Network:
        """Build the network at its initial weights."""
        return kfgn.perceptron(
            self.sizes,
            self.loss,
            activation,
            targets=self.loss == "softmax",
            seed=self.seed,
            dtype=dtype,
        )

    def load(self) -> Data:
        """Return the examples, float32, and the labels of a classifier.

        Raises
        ------
        DataNotFound
            The data are not on this machine and cannot be fetched.
        """
        found = kfgn.load_data(self.data, count=self.examples)
        inputs = found.inputs
        if self.pooled:
            side = int(np.sqrt(inputs.shape[1])) // 2
            inputs = inputs.reshape(-1, side, 2, side, 2).mean(axis=(2, 4))
            inputs = inputs.reshape(len(inputs), -1)
        if self.loss == "softmax":
            return inputs, np.asarray(found.targets)
        return (inputs,)


BOTH_RUNS = {"KFRA": (0, 20, 100, 500), "Adam": (20, 100, 500)}
CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        Case(
            name="classifier",
            sizes=(196, 60, 40, 20, 10),
            loss="softmax",
            pooled=True,
            points=BOTH_RUNS,
            batches={5000: 1, 1000: 3, 100: 3},
            dampings=(1.0, 1e2, 1e4),
            samples=(1, 10, 100),
            column_chunk=1000,
            tolerance=1e-2,
        ),
        Case(
            name="autoencoder",
            sizes=(784, 64, 32, 16, 32, 64, 784),
            loss="bernoulli",
            points={"KFRA": (0, 20, 100, 500), "Adam": (500,)},
            batches={400: 1, 100: 2},
            dampings=(0.3, 5.0, 100.0),
            tolerance=0.05,
        ),
        Case(
            name="paper",
            sizes=(784, *PAPER_HIDDEN, 784),
            loss="bernoulli",
            activations=("tanh",),
            points={"KFRA": (20, 100)},
            batches={500: 1},
            dampings=(5.0,),
            kflr=False,
            dtype="float32",
            tolerance=0.1,
        ),
    )
}
"""The networks; ``"paper"`` is the paper's own autoencoder, at a few points."""
