"""FACES: 25x25 patches of rotated, scaled and cropped faces, generated from the Olivetti images.

The recipe of Hinton and Salakhutdinov (2006) makes 400 x 414 = 165,600 patches. Rotations are
uniform in -90 to 90 degrees and scales uniform in 1.4 to 1.8; the results are cropped and
subsampled. People 1-25 are the training split, the next 5 the validation split and the last 10
the test split. The training mean of each pixel is subtracted. A single divisor then scales the
average pixel variance of the training patches to 1.

The original patches were not available. The generated ones reproduce the published squared error
of a 30-component PCA on the test people, 135 per patch.

Images: AT&T Laboratories Cambridge, *Database of Faces* (Samaria and Harter, 1994), free for
research with credit.
"""

import os
from typing import Literal

import numpy as np

from kfgn_graph.program.datasets.dataset import Dataset
from kfgn_graph.program.datasets.files import DataFile, cached_arrays, find

VERSION = 1
SIDE = 25
SUBSAMPLES = 3
PATCHES = 414
ANGLES = (-90.0, 90.0)
SCALES = (1.4, 1.8)
PEOPLE = {"train": slice(0, 25), "validation": slice(25, 30), "test": slice(30, 40)}
FILE = DataFile(
    "olivetti/olivetti_faces_uint8.npz",
    "964b39d21eee062619f7af4882e424cb9d5fd261cae8b9965aa8e71280fc46fb",
    origin="arrays `images` (400, 64, 64) uint8 and `person` (400,) of the Olivetti faces, "
    "AT&T Laboratories Cambridge",
)


def load_faces(
    split: Literal["train", "validation", "test"] = "train",
    count: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Dataset:
    """Load FACES. The first call generates the patches and caches them (414 MB).

    Parameters
    ----------
    split : "train", "validation" or "test"
        The split, of 103,500, 20,700 or 41,400 patches.
    count : int, optional
        Number of patches, taken from the start; all by default.
    folder : path-like, optional
        The data folder, which contains ``olivetti/``; by default the usual folders are searched.
    seed : int
        Seed of the angles and scales.

    Returns
    -------
    Dataset
        ``inputs`` (N, 625) float32, normalised by the statistics of the training split.
        ``targets`` (N,) int64, the index of the person, counted from 0.

    Raises
    ------
    DataNotFound, DataCorrupt
        The Olivetti images are not found, their hash is wrong, or the cached patches cannot be
        read.
    """
    arrays, path = cached_arrays(
        kept_name(seed),
        lambda: generate_faces(*read_olivetti(folder), PATCHES, seed),
    )
    source = f"generated from the Olivetti faces (recipe version {VERSION}, seed {seed}), kept in "
    people = np.asarray(arrays["person"])
    chosen = np.isin(people, np.unique(people)[PEOPLE[split]])
    inputs = arrays["patches"][chosen]
    return Dataset("faces", inputs, people[chosen], f"{source}{path}, {split} split").head(count)


def kept_name(seed: int) -> str:
    """Return the name of the cached arrays."""
    return f"faces-v{VERSION}-seed{seed}"


def read_olivetti(
    folder: str | os.PathLike[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Read the images, (400, 64, 64) uint8, and the person in each, 0 to 39."""
    with np.load(find(FILE, folder)) as content:
        return content["images"], content["person"]


def generate_faces(
    images: np.ndarray, person: np.ndarray, patches: int, seed: int
) -> dict[str, np.ndarray]:
    """Cut patches from every image and normalise them by the statistics of the training split.

    Parameters
    ----------
    images : ndarray, shape (M, H, H)
        Square source images, grouped by person.
    person : ndarray of int, shape (M,)
        Index of the person in each image.
    patches : int
        Number of patches per image.
    seed : int
        Seed of the angles and scales.

    Returns
    -------
    dict
        ``patches`` (M * patches, 625) float32 and ``person`` (M * patches,) int64.
    """
    rng = np.random.default_rng(seed)
    made = np.concatenate(
        [
            cut_patches(image, rng.uniform(*ANGLES, patches), rng.uniform(*SCALES, patches))
            for image in images
        ]
    )
    owners = np.repeat(person.astype(np.int64), patches)
    train = np.isin(owners, np.unique(owners)[PEOPLE["train"]])
    made -= made[train].mean(axis=0, dtype=np.float64).astype(np.float32)
    made /= np.float32(np.sqrt(np.mean(made[train] ** 2, dtype=np.float64)))
    return {"patches": made, "person": owners}


def cut_patches(image: np.ndarray, angles: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Cut rotated and scaled square patches around the centre of an image.

    The side of a patch is H / scale source pixels. The patch is sampled bilinearly on a grid three
    times as fine as the result, and 3x3 blocks of samples are averaged. Samples outside the image
    take the value of the nearest edge pixel.

    Parameters
    ----------
    image : ndarray, shape (H, H)
        The source image.
    angles : ndarray, shape (P,)
        Rotation of each patch, in degrees.
    scales : ndarray, shape (P,)
        Magnification of each patch.

    Returns
    -------
    ndarray of float32, shape (P, 625)
    """
    fine = SIDE * SUBSAMPLES
    offsets = (np.arange(fine) + 0.5) / fine - 0.5
    down, across = np.meshgrid(offsets, offsets, indexing="ij")
    turn = np.deg2rad(angles)[:, None, None]
    size = (len(image) / scales)[:, None, None]
    centre = (len(image) - 1) / 2
    rows = centre + size * (np.cos(turn) * down - np.sin(turn) * across)
    columns = centre + size * (np.sin(turn) * down + np.cos(turn) * across)
    sampled = _bilinear(image.astype(np.float32), rows, columns)
    blocks = sampled.reshape(len(angles), SIDE, SUBSAMPLES, SIDE, SUBSAMPLES)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(angles), SIDE * SIDE)


def _bilinear(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Interpolate an image bilinearly at coordinates that are clamped to the image."""
    last = len(image) - 1
    rows, columns = np.clip(rows, 0, last), np.clip(columns, 0, last)
    top, left = np.minimum(rows.astype(int), last - 1), np.minimum(columns.astype(int), last - 1)
    down, across = (rows - top).astype(np.float32), (columns - left).astype(np.float32)
    upper = image[top, left] * (1 - across) + image[top, left + 1] * across
    lower = image[top + 1, left] * (1 - across) + image[top + 1, left + 1] * across
    return upper * (1 - down) + lower * down
