"""The networks, weights and batches that both systems are given."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np

ACTIVATIONS = ("tanh", "relu", "sigmoid")
LOSSES = ("squared", "softmax")
SIZES = ((7, 6, 5, 4), (5, 8, 3))
BATCH = 9


@dataclass(frozen=True)
class Case:
    """One network with its weights and a batch; everything float64.

    Attributes
    ----------
    activation, loss : str
        Of ``ACTIVATIONS`` and ``LOSSES``.
    sizes : tuple of int
        Widths, input to output.
    weights, biases : list of ndarray
        A layer each, (d_in, d_out) and (d_out,).
    x : ndarray, shape (N, d_0)
        The batch.
    y : ndarray
        Targets: (N, K) for ``"squared"``, labels (N,) for ``"softmax"``.
    """

    activation: str
    loss: str
    sizes: tuple[int, ...]
    weights: list[np.ndarray]
    biases: list[np.ndarray]
    x: np.ndarray
    y: np.ndarray

    @property
    def name(self) -> str:
        """Unique among the cases."""
        return f"{self.loss}-{self.activation}-{'-'.join(map(str, self.sizes))}"


def all_cases(seed: int = 0) -> Iterator[Case]:
    """Yield every combination of loss, activation and widths, drawn at random."""
    rng = np.random.default_rng(seed)
    for loss, activation, sizes in product(LOSSES, ACTIVATIONS, SIZES):
        outputs = sizes[-1]
        yield Case(
            activation,
            loss,
            sizes,
            [glorot_uniform(rng, d_in, d_out) for d_in, d_out in pairwise(sizes)],
            [rng.normal(0, 0.3, d_out) for d_out in sizes[1:]],
            rng.normal(size=(BATCH, sizes[0])),
            rng.normal(size=(BATCH, outputs))
            if loss == "squared"
            else rng.integers(0, outputs, BATCH),
        )


def glorot_uniform(rng: np.random.Generator, d_in: int, d_out: int) -> np.ndarray:
    """Draw a (d_in, d_out) matrix, uniform in +-sqrt(6 / (d_in + d_out)); float64."""
    limit = np.sqrt(6.0 / (d_in + d_out))
    return rng.uniform(-limit, limit, (d_in, d_out))


def write_cases(cases: list[Case], path: Path) -> None:
    """Write the cases for the other system: arrays by name, and a JSON list of what they are."""
    arrays: dict[str, np.ndarray] = {}
    for case in cases:
        arrays[f"{case.name}/x"], arrays[f"{case.name}/y"] = case.x, case.y
        for index, (weight, bias) in enumerate(zip(case.weights, case.biases, strict=True)):
            arrays[f"{case.name}/W{index}"], arrays[f"{case.name}/b{index}"] = weight, bias
    listing = [
        {"name": c.name, "activation": c.activation, "loss": c.loss, "layers": len(c.weights)}
        for c in cases
    ]
    np.savez(path, listing=np.array(json.dumps(listing)), **arrays)  # type: ignore[arg-type]
