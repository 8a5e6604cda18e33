"""Standardisation of data, and the means and deviations with which it was done."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kfgn_graph.errors import CheckpointError, SpecError
from kfgn_graph.program.archives import Archive, Unreadable
from kfgn_graph.program.representing import column_text, magnitude
from kfgn_graph.program.storage import write_safely

SCALING = "scaling.npz"
SAFE = 400
"""Largest binary exponent, of either sign, of numbers whose squares are summed as they are."""
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
        size = np.maximum(magnitude(array), np.maximum(np.abs(self.mean), self.deviation))
        exponent = -_exponent(size)
        x, mean, deviation = (_shifted(a, exponent) for a in (array, self.mean, self.deviation))
        return ((x - mean) / deviation).astype(array.dtype)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Return standardised examples, such as predictions, in the units of the data.

        Raises
        ------
        SpecError
            The dtype of ``array`` does not represent them.
        """
        exponent = _exponent(np.maximum(np.abs(self.mean), self.deviation))
        mean, deviation = (_shifted(a, -exponent) for a in (self.mean, self.deviation))
        with np.errstate(over="ignore"):
            found = _shifted(array * deviation + mean, exponent).astype(array.dtype)
        if np.isfinite(array).all() and not np.isfinite(found).all():
            raise SpecError(
                f"some values are too large for {array.dtype} in the units of the data: pass the "
                "array in float64."
            )
        return found


def scaling_of(array: np.ndarray, name: str = "the array") -> Scaling:
    """Return the mean and the deviation of each column; the deviation of a constant one is 1.

    A column of very large or small numbers is divided by a power of two near its largest
    magnitude first, so that squares neither overflow nor underflow.

    Parameters
    ----------
    array : ndarray of floats, shape (N, ...)
        The training examples.
    name : str
        Its name, for the message.

    Raises
    ------
    SpecError
        float64 does not represent the deviation of a column in full precision.
    """
    low, high = array.min(axis=0), array.max(axis=0)
    constant = low == high
    exponent = _exponent(magnitude(array))
    x = _shifted(array, -exponent)
    mean = x.mean(axis=0, dtype=np.float64)
    deviation = _shifted(np.sqrt(np.mean((x - mean) ** 2, axis=0)), exponent)
    lost = ~constant & (deviation < np.finfo(np.float64).tiny)
    if lost.any():
        index = tuple(int(i) for i in np.argwhere(lost)[0])
        raise SpecError(
            f"data.standardise: the numbers in {column_text(index, name)} are so small that "
            "float64 does not represent their standard deviation. Choose another unit, or leave "
            "out the column."
        )
    mean = np.where(constant, low.astype(np.float64), _shifted(mean, exponent))
    return Scaling(mean, np.where(constant, 1.0, deviation))


def _exponent(size: np.ndarray) -> np.ndarray:
    """Return the binary exponents of magnitudes; 0 where their squares are in float64's range."""
    exponent = np.frexp(size)[1]
    return np.where(np.abs(exponent) > SAFE, exponent, 0)


def _shifted(array: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Return ``array * 2**exponent``, which only changes columns with an exponent other than 0."""
    return np.ldexp(array.astype(np.float64), exponent) if exponent.any() else array


def standardised(
    arrays: Sequence[np.ndarray], names: Sequence[str] = (), numbers: Collection[int] = ()
) -> tuple[tuple[np.ndarray, ...], tuple[Scaling | None, ...]]:
    """Scale the columns of float arrays to mean 0 and variance 1; constant columns become 0.

    Parameters
    ----------
    arrays : sequence of ndarray
        The arrays.
    names : sequence of str
        Their names, for messages; by default their numbers from 1.
    numbers : collection of int
        Indices of the arrays that are scaled whatever their dtype.

    Returns
    -------
    arrays : tuple of ndarray
        The standardised arrays; other arrays of whole numbers, such as labels, are unchanged.
    scalings : tuple of Scaling or None
        How each array was scaled; None for an unchanged one.

    Raises
    ------
    SpecError
        float64 does not represent a column or its deviation.
    """
    names = names or [f"array {k}" for k, _ in enumerate(arrays, start=1)]
    floats = [
        a.astype(np.float64) if k in numbers and a.dtype.kind != "f" else a
        for k, a in enumerate(arrays)
    ]
    plain = [_plain(a, name) for a, name in zip(floats, names, strict=True)]
    scalings = tuple(
        scaling_of(a, name) if a.dtype.kind == "f" else None
        for a, name in zip(plain, names, strict=True)
    )
    pairs = zip(plain, scalings, strict=True)
    return tuple(a if scaling is None else scaling.apply(a) for a, scaling in pairs), scalings


def _plain(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array of a wider dtype than float64 in float64."""
    if array.dtype.kind != "f" or array.dtype.itemsize <= 8:
        return array
    with np.errstate(over="ignore", under="ignore"):
        found = array.astype(np.float64)
    if not np.isfinite(found).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(found))[0][1:])
        raise SpecError(
            f"data.standardise: some numbers in {column_text(index, name)} are too large for "
            "float64. Choose another unit."
        )
    return found


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
    except (Unreadable, ValueError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}. Compute the means and deviations from the data."
        ) from error
