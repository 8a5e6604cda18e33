"""A data set, as every loader returns it."""

from dataclasses import dataclass

import numpy as np

from kfgn_graph.errors import SpecError


@dataclass(frozen=True)
class Dataset:
    """N examples, with their targets and where they came from.

    Attributes
    ----------
    name : str
        Short name, such as ``"mnist"``.
    inputs : ndarray of float32, shape (N, D)
        The examples, in rows.
    targets : ndarray, shape (N,), or None
        Class labels (int64) or regression targets (float32), where the data set has them.
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
        SpecError
            ``count`` is not positive, or the data set holds fewer examples.
        """
        if count is None:
            return self
        if not 0 < count <= len(self.inputs):
            raise SpecError(
                f"count: found {count}; {self.name!r} has {len(self.inputs)} examples."
            )
        targets = None if self.targets is None else self.targets[:count]
        return Dataset(self.name, self.inputs[:count], targets, self.source)

    def entropy(self) -> float:
        """Return the entropy of the examples, their entries in [0, 1] read as probabilities.

        It is the least cross-entropy that a model of the examples can have: nats, summed over the
        D entries and averaged over the N examples.
        """
        return bernoulli_floor(self.inputs)


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
