"""CURVES: 28x28 images of smooth curves with six degrees of freedom, generated.

Neither the data set of the deep-autoencoder literature (Hinton and Salakhutdinov, 2006) nor its
drawing code was available. The publications state that each curve is made from three random
points in the plane, that pixels lie in [0, 1], and that there are 20,000 training and 10,000 test
images. The recipe here is a calibrated guess. The points are uniform in ``[6, 22]^2`` of the
28x28 plane, a parabola passes through them, and a pixel at distance d from the curve has the
intensity ``exp(-d^2 / 2)``. With these constants the squared error of an 18-component PCA is
close to the published 5.90. Other published figures are not reproduced, so losses on this data
set are not comparable with published losses.
"""

from typing import Literal

import numpy as np

from kfgn_graph.program.datasets.dataset import Dataset
from kfgn_graph.program.datasets.files import cached_arrays

VERSION = 1
SIDE = 28
MARGIN = 6.0
SAMPLES = 160
COUNTS = {"train": 20_000, "test": 10_000}


def load_curves(
    split: Literal["train", "test"] = "train", count: int | None = None, seed: int = 0
) -> Dataset:
    """Load CURVES. The first call generates the images and caches them (94 MB).

    Parameters
    ----------
    split : "train" or "test"
        The split, of 20,000 or 10,000 images.
    count : int, optional
        Number of images, taken from the start; all by default.
    seed : int
        Seed of the random points.

    Returns
    -------
    Dataset
        ``inputs`` (N, 784) float32; ``targets`` is None.

    Raises
    ------
    DataCorrupt
        The cached file cannot be read.
    """
    arrays, path = cached_arrays(kept_name(seed), lambda: _both_splits(seed))
    source = f"generated (recipe version {VERSION}, seed {seed}), kept in {path}, {split} split"
    return Dataset("curves", arrays[split], None, source).head(count)


def kept_name(seed: int) -> str:
    """Return the name of the cached arrays."""
    return f"curves-v{VERSION}-seed{seed}"


def _both_splits(seed: int) -> dict[str, np.ndarray]:
    images = draw_curves(random_points(sum(COUNTS.values()), seed))
    return {"train": images[: COUNTS["train"]], "test": images[COUNTS["train"] :]}


def random_points(count: int, seed: int) -> np.ndarray:
    """Draw three random points for each curve: float32, shape (count, 3, 2), in pixels."""
    rng = np.random.default_rng(seed)
    return rng.uniform(MARGIN, SIDE - MARGIN, (count, 3, 2)).astype(np.float32)


def draw_curves(points: np.ndarray) -> np.ndarray:
    r"""Render the parabola through each triple of points as a stroke with soft edges.

    The curve is the Lagrange interpolant :math:`x(t)` of the points at t = 0, 1/2, 1. A pixel
    with centre c has the intensity :math:`\exp(-\min_t \|c - x(t)\|^2 / 2)`.

    Parameters
    ----------
    points : ndarray, shape (N, 3, 2)
        Row and column of each point, in pixels. The centre of pixel (i, j) is at
        (i + 1/2, j + 1/2).

    Returns
    -------
    ndarray of float32, shape (N, 784)
    """
    t = np.linspace(0.0, 1.0, SAMPLES)
    basis = np.stack([(1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)], axis=1)
    curves = np.einsum("sp,npd->dns", basis.astype(np.float32), points)
    centres = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
    images = np.empty((len(points), SIDE * SIDE), np.float32)
    for index in range(len(points)):
        rows, columns = ((centres[:, None] - curve[index]) ** 2 for curve in curves)
        nearest = np.min(rows[:, None] + columns[None], axis=-1)
        images[index] = np.exp(-0.5 * nearest).ravel()
    return images
