"""Statement (i): every pre-activation Hessian and every layer's block is semi-definite."""

from dataclasses import dataclass

import numpy as np

import kfgn_graph as kfgn
from experiments.small_networks import (
    compile_blocks,
    draw_batch,
    draw_parameters,
    full_hessian,
    small_network,
)

TOLERANCE = 1e-10
"""An eigenvalue is negative below -TOLERANCE times the size of its matrix."""
LEAST = 1e-4
"""The size of a matrix is the largest magnitude of its eigenvalues, and at least this. The Hessian
of a saturated softmax is a difference of numbers near 1, exact to about 1e-16 however small it is.
"""


@dataclass
class Signs:
    """Counts over the random points of one activation, loss and depth.

    Attributes
    ----------
    activation, loss : str
        Names, as in ``experiments.small_networks``.
    layers : int
        Affine layers.
    points : int
        Networks, each with its own widths, parameters and batch.
    preactivation, indefinite_preactivation : int
        Pre-activation Hessians, one for each example and layer, and how many of them have a
        negative eigenvalue.
    blocks, indefinite_blocks : int
        Layer blocks of the Hessian of the mean loss, likewise.
    indefinite_full : int
        Hessians in all parameters that have a negative eigenvalue.
    negative_trace : int
        Hessians in all parameters with a negative trace.
    lowest : float
        Smallest eigenvalue of any block, relative to the size of the block.
    autodiff_error : float
        Largest difference between ``BlockHessian`` and automatic differentiation, relative to
        the size of the full Hessian.
    """

    activation: str
    loss: str
    layers: int
    points: int = 0
    preactivation: int = 0
    indefinite_preactivation: int = 0
    blocks: int = 0
    indefinite_blocks: int = 0
    indefinite_full: int = 0
    negative_trace: int = 0
    lowest: float = 0.0
    autodiff_error: float = 0.0


def relative_minimum(matrices: np.ndarray) -> np.ndarray:
    """Return the smallest eigenvalues relative to the sizes of the matrices."""
    eigenvalues = np.linalg.eigvalsh((matrices + np.swapaxes(matrices, -1, -2)) / 2)
    relative: np.ndarray = eigenvalues[..., 0] / np.abs(eigenvalues).max(axis=-1).clip(LEAST)
    return relative


def count_signs(activation: str, loss: str, layers: int, points: int, seed: int) -> Signs:
    """Draw random networks, take the sign of every Hessian, and compare with autodiff.

    Widths are between 1 and 6, of the softmax's output at least 2; batches have 1 to 5 examples.
    """
    network = small_network(activation, loss, layers)
    blocks, full = compile_blocks(network, kfgn.BlockHessian()), full_hessian(network)
    rng, found = np.random.default_rng(seed), Signs(activation, loss, layers)
    for _ in range(points):
        sizes = [int(width) for width in rng.integers(1, 7, size=layers + 1)]
        sizes[-1] = max(sizes[-1], 2 if loss == "softmax" else 1)
        network.assign(draw_parameters(rng, sizes))
        batch = draw_batch(rng, loss, int(rng.integers(1, 6)), sizes[0], sizes[-1])
        parts = blocks(*batch)
        _count(found, parts[0::2], parts[1::2], full(*batch))
    return found


def _count(
    found: Signs, curvatures: list[np.ndarray], blocks: list[np.ndarray], full: np.ndarray
) -> None:
    """Add one network's Hessians to the counts."""
    found.points += 1
    for curvature, block in zip(curvatures, blocks, strict=True):
        below = relative_minimum(curvature) < -TOLERANCE
        found.preactivation += below.size
        found.indefinite_preactivation += int(below.sum())
        lowest = float(relative_minimum(block))
        found.blocks += 1
        found.indefinite_blocks += lowest < -TOLERANCE
        found.lowest = min(found.lowest, lowest)
    size = max(float(np.abs(full).max()), LEAST)
    ends = np.cumsum([len(block) for block in blocks])
    for block, end in zip(blocks, ends, strict=True):
        part = slice(end - len(block), end)
        error = float(np.abs(full[part, part] - block).max()) / size
        found.autodiff_error = max(found.autodiff_error, error)
    found.indefinite_full += bool(relative_minimum(full) < -TOLERANCE)
    found.negative_trace += bool(np.trace(full) < -TOLERANCE * size)
