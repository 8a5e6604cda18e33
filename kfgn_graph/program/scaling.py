"""Standardisation of data, and the means and deviations with which it was done."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.archives import Archive
from kfgn_graph.program.storage import write_safely

SCALING = "scaling.npz"
_PARTS = ("mean", "deviation")


@dataclass(frozen=True)
class Scaling:
    """The standardisation of one array of the data, column by column.

    Attributes
    ----------
    mean : ndarray of float64, shape of one example
        Mean over the training examples.
    deviation : ndarray of float64, shape of one example
        Standard deviation over the training examples; 1 for a constant column.
    """

    mean: np.ndarray
    deviation: np.ndarray

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Standardise examples, in the units of the data.

        Parameters
        ----------
        array : ndarray, shape (N, ...)
            Examples along the leading axis.
        """
        return ((array - self.mean) / self.deviation).astype(array.dtype)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Return standardised examples, such as predictions, in the units of the data."""
        return (array * self.deviation + self.mean).astype(array.dtype)


def scaling_of(array: np.ndarray) -> Scaling:
    """Return the mean and the deviation of each column; the deviation of a constant one is 1."""
    mean = array.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(np.mean((array - mean) ** 2, axis=0))
    return Scaling(mean, np.where(deviation > 0, deviation, 1.0))


def standardised(
    arrays: Sequence[np.ndarray],
) -> tuple[tuple[np.ndarray, ...], tuple[Scaling | None, ...]]:
    """Scale the columns of float arrays to mean 0 and variance 1; constant columns become 0.

    Returns
    -------
    arrays : tuple of ndarray
        The standardised arrays; arrays of whole numbers, such as labels, are unchanged.
    scalings : tuple of Scaling or None
        How each array was scaled; None for an unchanged one.
    """
    scalings = tuple(scaling_of(a) if a.dtype.kind == "f" else None for a in arrays)
    pairs = zip(arrays, scalings, strict=True)
    return tuple(a if scaling is None else scaling.apply(a) for a, scaling in pairs), scalings


def write_scalings(folder: Path, scalings: Sequence[Scaling | None]) -> None:
    """Write the scalings of a run's arrays to ``scaling.npz``; nothing where there are none."""
    parts = {
        f"{part}_{index}": getattr(scaling, part)
        for index, scaling in enumerate(scalings)
        if scaling is not None
        for part in _PARTS
    }
    if parts:
        stream = io.BytesIO()
        np.savez(stream, **parts)
        write_safely(folder / SCALING, stream.getvalue())


def read_scalings(folder: Path) -> dict[int, Scaling]:
    """Read the scalings of a run, by the index of the loss's input.

    Raises
    ------
    CheckpointError
        The file cannot be read.
    """
    path = folder / SCALING
    if not path.exists():
        return {}
    try:
        with Archive(path) as file:
            indices = sorted({int(name.rpartition("_")[2]) for name in file.names})
            return {
                index: Scaling(*(file[f"{part}_{index}"] for part in _PARTS)) for index in indices
            }
    except Exception as error:
        raise CheckpointError(
            f"cannot read {path}: {error}. Compute the means and deviations from the data."
        ) from error
