"""Statement (iii): where f' = 0, the rank of the pre-activation Hessian falls; else it stays."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

import kfgn_graph as kfgn
from experiments.small_networks import (
    KINKS,
    compile_blocks,
    compile_in_python,
    draw_batch,
    draw_parameters,
    numerical_rank,
    small_network,
)

TOLERANCE = 1e-12
"""An eigenvalue counts if its magnitude exceeds TOLERANCE times the largest."""


@dataclass
class Ranks:
    """Ranks of the pre-activation Hessians of single examples, over random networks.

    Attributes
    ----------
    name : str
        Label of the case.
    activation, loss : str
        Names, as in ``experiments.small_networks``.
    sizes : tuple of int
        Widths.
    ranks : list of list of int
        For each example the rank at each layer, the first layer first.
    rises : int
        Steps backwards, from a layer to the one below, with a higher rank.
    falls : int
        Steps with a lower rank.
    formula : int
        Steps in which the rank is min(rank above, units with f' != 0).
    steps : int
        All of them.
    gap : float
        As of :func:`experiments.small_networks.numerical_rank`, the largest.
    """

    name: str
    activation: str
    loss: str
    sizes: tuple[int, ...]
    ranks: list[list[int]] = field(default_factory=list)
    rises: int = 0
    falls: int = 0
    formula: int = 0
    steps: int = 0
    gap: float = 0.0

    @property
    def mean(self) -> list[float]:
        """Mean rank at each layer."""
        return [float(value) for value in np.mean(self.ranks, axis=0)]


def count_ranks(
    name: str, activation: str, loss: str, sizes: Sequence[int], networks: int, seed: int
) -> Ranks:
    """Take the rank at every layer, for 10 examples of each random network.

    The weights are orthogonal, so that they themselves lose no rank where widths do not fall, and
    small eigenvalues stay apart from rounding errors.
    """
    layers = len(sizes) - 1
    network = small_network(activation, loss, layers)
    blocks = compile_blocks(network, kfgn.BlockHessian())
    slopes = compile_in_python([network.x], list(network.preactivations[:-1]))
    rng, found = np.random.default_rng(seed), Ranks(name, activation, loss, tuple(sizes))
    for _ in range(networks):
        network.assign(draw_orthogonal(rng, sizes))
        x, y = draw_batch(rng, loss, 10, sizes[0], sizes[-1])
        ranks, gaps = zip(
            *(numerical_rank(part, TOLERANCE) for part in blocks(x, y)[0::2]), strict=True
        )
        found.gap = max(found.gap, *gaps)
        found.ranks += np.stack(ranks, axis=1).tolist()
        moving = [moving_units(activation, h) for h in slopes(x)]
        for (below, above), units in zip(pairwise(ranks), moving, strict=True):
            found.steps += below.size
            found.rises += int((below > above).sum())
            found.falls += int((below < above).sum())
            found.formula += int((below == np.minimum(above, units)).sum())
    return found


def draw_orthogonal(rng: np.random.Generator, sizes: Sequence[int]) -> list[np.ndarray]:
    """Draw parameters whose weights have singular values of 1."""
    values = draw_parameters(rng, sizes)
    for number in range(0, len(values), 2):
        left, _, right = np.linalg.svd(values[number], full_matrices=False)
        values[number] = left @ right
    return values


def moving_units(activation: str, h: np.ndarray) -> np.ndarray:
    """Return, for each example, the number of units whose activation has a slope other than 0."""
    if activation == "relu":
        return (h > 0).sum(axis=1)
    if activation == "hard-tanh":
        low, high = KINKS[activation]
        return ((h > low) & (h < high)).sum(axis=1)
    return np.full(len(h), h.shape[1])
