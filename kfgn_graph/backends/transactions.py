"""A change of shared variables that takes place as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kfgn_graph.backends.interruptions import uninterrupted
from kfgn_graph.errors import CheckpointError

#: The cell that holds the value of a shared variable.
Storage = list[Any]


def attempt[T](
    change: Callable[[], T],
    storages: Sequence[Storage],
    kept: Sequence[Any] | None,
    lost: Callable[[], bool] = lambda: True,
) -> T:
    """Return ``change()``; if it raises, the storages hold their old values again.

    Signals are handled after the change. If a handler raises then, the values are the new ones.

    Parameters
    ----------
    change : callable
        Overwrites or replaces the values in the storages.
    storages : sequence of Storage
        The cells that it changes.
    kept : sequence of arrays, optional
        Their old values, which the change does not overwrite. None where only a failure is
        possible that no caller could prevent, such as a lack of memory.
    lost : callable
        Returns whether a change that raised has destroyed old values that were not kept.

    Raises
    ------
    CheckpointError
        If the change raised and may have destroyed values that were not kept.
    """
    begun = done = False

    def whole() -> T:
        nonlocal begun, done
        begun = True
        result = change()
        done = True
        return result

    try:
        return uninterrupted(whole, recoverable=kept is not None)
    except BaseException as error:
        if done or not begun:
            raise
        if kept is not None:
            uninterrupted(lambda: put(zip(storages, kept, strict=True)))
        elif lost():
            raise CheckpointError(
                f"the update failed half-way ({type(error).__name__}: {error}), and may have "
                "overwritten a part of parameters and state: restore a saved state by load() or "
                "load_state()."
            ) from error
        raise


def put(values: Iterable[tuple[Storage, Any]]) -> None:
    """Store values, each in its storage."""
    for storage, value in values:
        storage[0] = value
