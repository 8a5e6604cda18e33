"""The labels of a classifier, which count its classes from 0."""

from __future__ import annotations

import numpy as np

from kfgn_graph.errors import SpecError

SHOWN = 10
"""Number of classes without an example that are listed."""


def labels_of(given: np.ndarray | None, origin: str) -> np.ndarray:
    """Return labels as int64.

    Parameters
    ----------
    given : ndarray or None
        The targets of the data; None if there are none.
    origin : str
        Origin of the data, for messages.

    Raises
    ------
    SpecError
        There are no labels, or they do not count classes from 0.
    """
    if given is None or given.ndim != 1 or given.dtype.kind not in "iu":
        found = "none" if given is None else f"{given.dtype} of shape {given.shape}"
        raise SpecError(
            f'loss: "softmax" needs labels, a vector of whole numbers; found {found} in {origin}.'
        )
    low, high = int(given.min()), int(given.max())
    if low == 0 and 0 < high < len(given):
        return given.astype(np.int64)
    remedy = "numpy.unique(labels, return_inverse=True)[1] numbers them so"
    if low == high:
        remedy = "give examples of two classes or more"
    elif low > 0 and high - low < len(given):
        remedy = (
            f"subtract {low} from the labels. If class 0 exists and has no example here, raise "
            "or leave out data.examples"
        )
    raise SpecError(
        f"data: labels must count classes from 0, at least two; found {low} to {high} in "
        f"{len(given)} examples of {origin}. Remedy: {remedy}."
    )


def note_on_gaps(labels: np.ndarray) -> str | None:
    """Return a note that names the classes without an example; None if each class has one."""
    missing = np.flatnonzero(np.bincount(labels) == 0)
    if not missing.size:
        return None
    listed = ", ".join(map(str, missing[:SHOWN]))
    more = f" and {missing.size - SHOWN} more" if missing.size > SHOWN else ""
    which = "class has" if missing.size == 1 else "classes have"
    return (
        f"data: the labels go up to {labels.max()}, so the network has {labels.max() + 1} outputs,"
        f" but {missing.size} {which} no example: {listed}{more}. If they do not exist, number "
        "the classes without gaps: numpy.unique(labels, return_inverse=True)[1]."
    )
