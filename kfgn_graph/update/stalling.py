"""The warning about training that stalls: many updates in a row, and none moves a parameter."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from kfgn_graph.errors import StalledTrainingWarning
from kfgn_graph.update.stats import UpdateStats

#: Number of updates in a row that move no parameter, after which training counts as stalled.
STALLED_AFTER = 50


class StallDetector:
    """A detector of fifty updates in a row that move nothing; it warns once for each such row.

    The flags of an update are on the device until they are read, and reading them waits for the
    update. They are therefore read only when the row can have reached fifty: every fifty updates
    while updates are taken.
    """

    def __init__(self) -> None:
        self._unread: list[UpdateStats] = []
        self._left = STALLED_AFTER  # updates until the row can be that long
        self._row = 0
        self._warned = False

    def add(self, stats: UpdateStats, count: int = 1) -> None:
        """Add the statistics of an update, or of several, and warn if training stalls.

        Parameters
        ----------
        stats : UpdateStats
            The statistics.
        count : int
            The number of updates that they describe.
        """
        self._unread.append(stats)
        self._left -= count
        if self._left <= 0:
            self._read()

    def _read(self) -> None:
        """Read the flags, from the newest updates back to one that was taken."""
        unread, self._unread = self._unread, []
        flags: list[np.ndarray] = []
        for stats in reversed(unread):
            flags.insert(0, unmoved(stats))
            if not flags[0][0]:
                break
        else:
            flags.insert(0, np.ones(self._row, bool))
        failed = np.concatenate(flags)
        if self._warned and not failed.all():  # the row that was warned about has ended
            self._warned, failed = False, failed[np.argmin(failed) :]
        longest, self._row = rows_of(failed)
        self._left = STALLED_AFTER - self._row if self._row < STALLED_AFTER else STALLED_AFTER
        known, self._warned = self._warned, self._row >= STALLED_AFTER
        if longest >= STALLED_AFTER and not known:
            warnings.warn(stalled(last_failure(unread[-1])), StalledTrainingWarning, stacklevel=4)


def unmoved(stats: UpdateStats) -> np.ndarray:
    """Return for each update whether it moved no parameter, as an array of shape (T,)."""
    failed = np.atleast_1d(np.asarray(stats.skipped | stats.rejected))
    return failed | (np.atleast_1d(np.asarray(stats.update_norm)) == 0)


def rows_of(failed: np.ndarray) -> tuple[int, int]:
    """Return the length of the longest row of failures, and of the last one up to 50.

    Parameters
    ----------
    failed : (T,) array of bool
        For each update whether it was not taken.
    """
    taken = np.flatnonzero(~failed)
    gaps = np.diff(np.concatenate([[-1], taken, [len(failed)]])) - 1
    return int(gaps.max()), min(int(gaps[-1]), STALLED_AFTER)


def last_failure(stats: UpdateStats) -> dict[str, Any]:
    """Return the statistics of the last update that was not taken, by name."""
    values = {name: np.atleast_1d(value) for name, value in stats.as_dict().items()}
    index = np.flatnonzero(unmoved(stats))[-1]
    return {name: value[index] for name, value in values.items()}


def stalled(statistics: Mapping[str, Any]) -> str:
    """Return the text of the warning: the reason why an update was not taken, and the remedy.

    Parameters
    ----------
    statistics : mapping
        The statistics of the last update, by the names of :class:`UpdateStats`.
    """
    return f"{STALLED_AFTER} updates in a row moved no parameter: {_reason(statistics)}"


def _reason(statistics: Mapping[str, Any]) -> str:
    if statistics["rejected"]:
        return (
            "each was rejected, since the loss does not fall as the quadratic model predicts "
            f"(reduction ratio {statistics['reduction_ratio']:.3g}, lambda "
            f"{statistics['damping']:.3g}). Check that a batch has the same loss when it is "
            "computed twice, and that the loss is continuous. At a minimum training is done. "
            "step=Rescaling(reject_below=None) rejects nothing."
        )
    if not math.isfinite(statistics["loss"]):
        return (
            "each was skipped, since the loss is not finite. Look for NaN and infinite values in "
            "the batches. If there are none, the parameters have left the range in which the loss "
            "is finite: restore a saved state, and compile the update with "
            "step=Rescaling(watch=None), which tests the loss after every step."
        )
    if not math.isfinite(statistics["gradient_norm"]):
        return (
            "each was skipped, since the gradient is not finite, although the loss is. Look for "
            "an infinite derivative, such as the square root's at 0, and for overflow: scale the "
            "data, or train in float64."
        )
    if not statistics["skipped"]:
        return (
            f"each had the length 0 (gradient {statistics['gradient_norm']:.3g}, lambda "
            f"{statistics['damping']:.3g}). If all units of a layer are inactive, as after a "
            "ReLU of negative arguments, initialise anew; if the gradient is too small for the "
            "dtype, scale the data. At a minimum training is done."
        )
    return (
        "each was skipped, since the curvature or the step is not finite, or a damped factor "
        "cannot be inverted. Scale the data, train in float64, or give more damping: "
        "LevenbergMarquardt(initial=...)."
    )
