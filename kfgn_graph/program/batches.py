"""Whether the data of a task fit its graph, batch by batch, before anything is compiled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np

import kfgn_graph as kfgn
from kfgn_graph.errors import BatchError, KfgnError, SpecError
from kfgn_graph.program.task import Task


def check_batches(task: Task, update: kfgn.Update | None) -> None:
    """Check every example of a user's data against the inputs and the indices of the loss.

    Parameters
    ----------
    task : Task
        The task. Networks that the program builds fit their data by construction.
    update : Update or None
        Its update; None for a first-order rule. The indices of a rule's graph are checked where
        its layers are recognised.

    Raises
    ------
    SpecError
        A batch does not fit, for example because a label is out of range.
    """
    if task.prediction is not None or task.spec.batch < 2:
        return
    if update is None:
        update = _recognised(task)
    if update is not None:
        with told_of_data():
            for batch in _covering(task.arrays, task.spec.batch):
                update.check(*batch)


@contextmanager
def told_of_data() -> Iterator[None]:
    """Turn a :class:`BatchError` of the block into a :class:`SpecError`, since the data are given.

    Raises
    ------
    SpecError
        The block raised a BatchError.
    """
    try:
        yield
    except BatchError as error:
        raise SpecError(f"data: {error}") from error


def _recognised(task: Task) -> kfgn.Update | None:
    """Return an update of a graph that indexes by its data, only to check batches, or None."""
    if all(variable.dtype[0] not in "iu" for variable in task.inputs):
        return None
    with suppress(KfgnError):
        return kfgn.compile_update(
            task.loss,
            list(task.parameters),
            list(task.inputs),
            backend=task.spec.backend,
            unmatched="gradient",
        )
    return None


def _covering(arrays: Sequence[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield batches of one size that have every example; the last may repeat some."""
    count = len(arrays[0])
    for start in (*range(0, count - size, size), count - size):
        yield tuple(array[start : start + size] for array in arrays)
