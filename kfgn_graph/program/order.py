"""The order in which examples are used: shuffled anew each epoch, and able to go on anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfgn_graph.errors import CheckpointError

STREAM = 1
"""Sets this generator apart from the one that draws the weights, which has the same seed."""


class DataOrder:
    """Batches of a data set, for ever; what does not fill a batch is left out of the epoch.

    Parameters
    ----------
    arrays : sequence of ndarray
        Equally long, examples leading.
    batch : int
        Examples a batch, at most as many as there are.
    seed : int
        Of the order.
    """

    def __init__(self, arrays: Sequence[np.ndarray], batch: int, seed: int) -> None:
        self._arrays = arrays
        self._batch = batch
        self._count = len(arrays[0])
        self._generator = np.random.default_rng((seed, STREAM))
        self._epoch = -1
        self._begin_epoch()

    @property
    def batches(self) -> int:
        """Batches an epoch."""
        return self._count // self._batch

    def next(self) -> tuple[np.ndarray, ...]:
        """Return the next batch."""
        if self._position == self.batches:
            self._begin_epoch()
        start = self._position * self._batch
        chosen = self._order[start : start + self._batch]
        self._position += 1
        return tuple(np.ascontiguousarray(array[chosen]) for array in self._arrays)

    def state(self) -> dict[str, Any]:
        """Return where the order is, for JSON: the generator before the epoch, and its batches."""
        return {"generator": self._before, "epoch": self._epoch, "position": self._position}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go where :meth:`state` was called.

        Raises
        ------
        CheckpointError
            It is no such place.
        """
        try:
            self._generator.bit_generator.state = state["generator"]
            self._epoch = int(state["epoch"]) - 1
            self._begin_epoch()
            self._position = int(state["position"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the order of the data is not one of ours: {error}.") from error

    def _begin_epoch(self) -> None:
        self._before = self._generator.bit_generator.state
        self._order = self._generator.permutation(self._count)
        self._epoch += 1
        self._position = 0
