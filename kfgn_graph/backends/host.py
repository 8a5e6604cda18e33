"""Backends whose compiled functions read and overwrite NumPy arrays in the memory of the host."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from pytensor.compile.executor import Function

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.transactions import Storage, attempt
from kfgn_graph.shared_values import is_foreign


class HostBackend(Backend):
    """A backend whose functions update shared variables in place.

    A function overwrites the array that a shared variable holds only if the array is a result of
    this backend. Any other array may be the user's (``set_value(..., borrow=True)``), read-only or
    mapped from a file, and is copied first.
    """

    def __init__(self) -> None:
        self._results: dict[int, Any] = {}  # by the id of the storage, which the function keeps
        self._storages: dict[Function, tuple[list[Storage], list[Storage]]] = {}

    def place(self, batch: list[Any], by_row: Sequence[bool]) -> list[Any]:
        """Return the arrays, and copies of those that are not aligned or not writeable."""
        return [a if a.flags.aligned and a.flags.writeable else np.array(a) for a in batch]

    def call(
        self, function: Function, batch: Sequence[Any], new: bool, fallible: bool
    ) -> list[Any]:
        updated, read = self._shared(function)
        for storage in read:
            if is_foreign(storage[0]):  # of JAX, after training with it
                storage[0] = np.array(storage[0])
        for storage in updated:
            value = storage[0]
            if self._results.get(id(storage)) is not value and hasattr(value, "shape"):
                storage[0] = np.array(value)
        kept = [deepcopy(storage[0]) for storage in updated] if new or fallible else None
        values: list[Any] = attempt(lambda: function(*batch), updated, kept)
        self._results.update((id(storage), storage[0]) for storage in updated)
        return values

    def _shared(self, function: Function) -> tuple[list[Storage], list[Storage]]:
        """Return the storages of the shared variables: updated ones, and others."""
        if function not in self._storages:
            found: tuple[list[Storage], list[Storage]] = ([], [])
            inputs = zip(function.maker.expanded_inputs, function.input_storage, strict=True)
            for given, container in inputs:
                if given.shared:
                    found[given.update is None].append(container.storage)
            self._storages[function] = found
        return self._storages[function]
