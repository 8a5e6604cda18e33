"""The one type that every loader returns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dataset:
    """Examples in rows, with where they came from.

    Attributes
    ----------
    name : str
        Short name, as ``"mnist"``.
    inputs : ndarray of float32, shape (N, D)
        One example a row.
    targets : ndarray, shape (N,) or None
        Class labels (integers) or regression targets (float32), where the data set has them.
    source : str
        Where the numbers came from: the files read, or the recipe that made them.
    """

    name: str
    inputs: np.ndarray
    targets: np.ndarray | None
    source: str

    def head(self, count: int | None) -> "Dataset":
        """Return the first ``count`` examples; all of them for None.

        Raises
        ------
        ValueError
            When the data set holds fewer than ``count`` examples, or ``count`` is not positive.
        """
        if count is None:
            return self
        if not 0 < count <= len(self.inputs):
            raise ValueError(
                f"{count} examples of {self.name!r} were asked for; it has {len(self.inputs)}."
            )
        targets = None if self.targets is None else self.targets[:count]
        return Dataset(self.name, self.inputs[:count], targets, self.source)


def bernoulli_floor(inputs: np.ndarray) -> float:
    """Return the entropy of grey targets: no model's cross-entropy on them is lower.

    Parameters
    ----------
    inputs : ndarray, shape (N, D)
        Targets in [0, 1], read as Bernoulli probabilities.

    Returns
    -------
    float
        Nats, summed over the D elements and averaged over the N examples.
    """
    from scipy.special import entr

    total = sum(
        float(np.sum(entr(part) + entr(1.0 - part), dtype=np.float64))
        for part in np.array_split(inputs, max(1, len(inputs) // 1000))
    )
    return total / len(inputs)
