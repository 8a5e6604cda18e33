"""Numerical checks: local maxima of a grid, and the curvature where there is no kink."""

from dataclasses import asdict, dataclass

import numpy as np

import kfgn_graph as kfgn
from experiments.figure1.panels import Panel, Setup, random_plane
from experiments.figure1.planes import Plane, PlaneFunction, Values
from experiments.small_networks import SmallNetwork, compile_blocks, draw_batch, small_network

TOLERANCE = 1e-10
"""Of eigenvalues, relative to the largest second derivative of the grid."""


@dataclass(frozen=True)
class Findings:
    """Counts of maxima and of signs of curvature on a grid, or their sums over several grids.

    A cell is the square of an interior grid point and its eight neighbours. Within W1, pre-
    activations are linear in x and y: no activation boundary crosses a cell if every
    pre-activation has the same sign, and is not zero, at all nine points.

    Attributes
    ----------
    points : int
        Interior grid points.
    smooth : int
        Those whose cell contains no activation boundary.
    maxima : int
        Interior points above all eight neighbours.
    smooth_maxima : int
        Those of them whose cell contains no activation boundary.
    negative_definite : int
        Maxima at which the Hessian in (x, y) is negative definite.
    indefinite : int
        Smooth points whose Hessian has a negative eigenvalue.
    negative_trace : int
        Smooth points whose Hessian has a negative trace.
    """

    points: int = 0
    smooth: int = 0
    maxima: int = 0
    smooth_maxima: int = 0
    negative_definite: int = 0
    indefinite: int = 0
    negative_trace: int = 0

    def __add__(self, other: "Findings") -> "Findings":
        mine, theirs = asdict(self), asdict(other)
        return Findings(**{name: mine[name] + theirs[name] for name in mine})


def neighbours(grid: np.ndarray) -> np.ndarray:
    """Return the eight neighbours of every interior point, shape (8, n - 2, n - 2, ...)."""
    n, m = grid.shape[:2]
    shifts = [(i, j) for i in (0, 1, 2) for j in (0, 1, 2) if (i, j) != (1, 1)]
    return np.stack([grid[i : n - 2 + i, j : m - 2 + j] for i, j in shifts])


def strict_maxima(loss: np.ndarray) -> np.ndarray:
    """Return which interior points lie above all of their neighbours."""
    return (loss[1:-1, 1:-1] > neighbours(loss)).all(axis=0)


def smooth_cells(hidden: np.ndarray) -> np.ndarray:
    """Return which interior points have a cell that no zero of a pre-activation crosses."""
    inner = np.sign(hidden[1:-1, 1:-1])
    same = (np.sign(neighbours(hidden)) == inner).all(axis=0)
    return (same & (inner != 0)).all(axis=-1)


def examine(values: Values, smooth_everywhere: bool = False) -> Findings:
    """Look for maxima on a grid and take the signs of the curvature.

    Parameters
    ----------
    values : Values
        On a grid.
    smooth_everywhere : bool
        Whether the activation is differentiable, so that there are no boundaries.
    """
    maxima = strict_maxima(values.loss)
    smooth = np.ones_like(maxima) if smooth_everywhere else smooth_cells(values.hidden)
    inner = values.hessian[1:-1, 1:-1]
    tolerance = TOLERANCE * np.abs(inner).max()
    eigenvalues = np.linalg.eigvalsh(inner)
    return Findings(
        maxima.size,
        int(smooth.sum()),
        int(maxima.sum()),
        int((maxima & smooth).sum()),
        int((maxima & (eigenvalues[..., 1] < -tolerance)).sum()),
        int((smooth & (eigenvalues[..., 0] < -tolerance)).sum()),
        int((smooth & (eigenvalues.sum(axis=-1) < -tolerance)).sum()),
    )


def search(activation: str, one_layer: bool, planes: int, setup: Setup) -> Findings:
    """Examine random planes of random two-layer networks with square loss and random data."""
    evaluate = PlaneFunction(small_network(activation, "squared", 2))
    rng = np.random.default_rng([setup.seed, 2])
    total = Findings()
    for _ in range(planes):
        plane = random_plane(rng, setup, one_layer)
        batch = draw_batch(rng, "squared", setup.examples, setup.inputs, setup.outputs)
        _, values = evaluate.grid(plane, batch, setup.points, setup.reach)
        total += examine(values, smooth_everywhere=activation == "tanh")
    return total


def block_hessian_error(
    panel: Panel, network: SmallNetwork, batch: tuple[np.ndarray, ...], setup: Setup, points: int
) -> float:
    """Compare the second derivatives with the package's ``BlockHessian`` at random points.

    Within one layer all three are u^T H v with the block H of that layer. In a plane of two
    layers the block of W1 gives the second derivative in x, and the block of W2 the one in y.

    Returns
    -------
    float
        Largest difference relative to the largest second derivative.
    """
    blocks = compile_blocks(network, kfgn.BlockHessian())
    rng = np.random.default_rng([setup.seed, 3])
    xs, ys = rng.uniform(-setup.reach, setup.reach, size=(2, points))
    true = PlaneFunction(network)(panel.plane, batch, xs, ys).hessian
    worst = 0.0
    for x, y, hessian in zip(xs, ys, true, strict=True):
        network.assign(panel.plane.at(x, y))
        _, first, _, second = blocks(*batch)
        projected = project(panel.plane, first, second)
        if not panel.one_layer:  # the mixed derivative is in no block
            projected[0, 1] = projected[1, 0] = hessian[0, 1]
        worst = max(worst, float(np.abs(projected - hessian).max()))
    return worst / float(np.abs(true).max())


def project(plane: Plane, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the matrix of the two blocks in the directions U and V, shape (2, 2)."""
    directions = np.stack([_vector(plane.along_x), _vector(plane.along_y)])
    mine, theirs = directions[:, : len(first)], directions[:, len(first) :]
    return mine @ first @ mine.T + theirs @ second @ theirs.T


def _vector(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.concatenate([part.ravel() for part in parts])
