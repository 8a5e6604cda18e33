"""The type that every loader of data returns, and the entropy of grey targets."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dataset:
    """Examples in rows, with their origin.

    Attributes
    ----------
    name : str
        Short name, for example ``"mnist"``.
    inputs : ndarray of float32, shape (N, D)
        One example per row.
    targets : ndarray, shape (N,) or None
        Class labels (integers) or regression targets (float32); None if the data set has none.
    source : str
        Origin of the numbers: the files read, or the recipe that generated them.
    """

    name: str
    inputs: np.ndarray
    targets: np.ndarray | None
    source: str

    def head(self, count: int | None) -> "Dataset":
        """Return the first ``count`` examples, or all of them for None.

        Raises
        ------
        ValueError
            The data set has fewer than ``count`` examples, or ``count`` is not positive.
        """
        if count is None:
            return self
        if not 0 < count <= len(self.inputs):
            raise ValueError(
                f"cannot take {count} examples of {self.name!r}; it has {len(self.inputs)}."
            )
        targets = None if self.targets is None else self.targets[:count]
        return Dataset(self.name, self.inputs[:count], targets, self.source)


def bernoulli_floor(inputs: np.ndarray) -> float:
    """Return the entropy of grey targets, the lower bound of every model's cross-entropy on them.

    Parameters
    ----------
    inputs : ndarray, shape (N, D)
        Targets in [0, 1], read as Bernoulli probabilities.

    Returns
    -------
    float
        Entropy in nats, summed over the D elements and averaged over the N examples.
    """
    from scipy.special import entr

    total = sum(
        float(np.sum(entr(part) + entr(1.0 - part), dtype=np.float64))
        for part in np.array_split(inputs, max(1, len(inputs) // 1000))
    )
    return total / len(inputs)
