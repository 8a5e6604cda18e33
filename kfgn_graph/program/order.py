"""The order of the examples: shuffled in each epoch, and resumable after any batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfgn_graph.errors import CheckpointError

STREAM = 1
"""Second seed; it makes the order independent of the weights, which share the first seed."""


class DataOrder:
    """An endless sequence of batches of a data set, all of one size.

    Each epoch is a random permutation of the examples, and batches are cut from the sequence of
    all epochs. The examples left at the end of an epoch, which do not fill a batch, begin a batch
    that the next epoch completes. Every example is thus used once in each epoch. Within a batch
    that two epochs share, an example may occur twice.

    Parameters
    ----------
    arrays : sequence of ndarray
        Arrays of equal length, with one example per row.
    batch : int
        Number of examples per batch, at most the number of examples.
    seed : int
        Seed of the permutations.
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
        """Number of whole batches per epoch."""
        return self._count // self._batch

    @property
    def updates_per_epoch(self) -> float:
        """Number of batches per epoch, the part of a batch that two epochs share included."""
        return self._count / self._batch

    def next(self) -> tuple[np.ndarray, ...]:
        """Return the next batch."""
        if self._start() >= self._count:
            self._begin_epoch()
        start = self._start()
        chosen = self._order[start : start + self._batch]
        self._position += 1
        if len(chosen) < self._batch:
            self._begin_epoch()
            chosen = np.concatenate([chosen, self._order[: self._batch - len(chosen)]])
        return tuple(np.ascontiguousarray(array[chosen]) for array in self._arrays)

    def _start(self) -> int:
        """Return the index in this epoch's permutation at which the next batch begins.

        The first batch that begins in epoch e does so after the examples that complete the last
        batch of epoch e - 1: epochs e N, batches multiples of the batch's size.
        """
        return -self._epoch * self._count % self._batch + self._position * self._batch

    def state(self) -> dict[str, Any]:
        """Return the position as JSON values: generator before the epoch, epoch, batches used."""
        return {"generator": self._before, "epoch": self._epoch, "position": self._position}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to a position that :meth:`state` returned.

        Raises
        ------
        CheckpointError
            The state is invalid; the position is unchanged.
        """
        generator = np.random.default_rng()
        try:
            generator.bit_generator.state = state["generator"]
            epoch, position = int(state["epoch"]), int(state["position"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"the state of the data's order is invalid: {error}.") from error
        if not 0 <= position <= self.batches:
            raise CheckpointError(
                f"the state of the data's order is invalid: batch {position} of {self.batches}."
            )
        self._generator = generator
        self._epoch = epoch - 1
        self._begin_epoch()
        self._position = position

    def _begin_epoch(self) -> None:
        self._before = self._generator.bit_generator.state
        self._order = self._generator.permutation(self._count)
        self._epoch += 1
        self._position = 0
