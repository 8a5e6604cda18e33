"""The interface of a compile backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable


class Backend(ABC):
    """How to compile an update, and what the compiled function wants."""

    name: str
    #: Whether the number of examples must be known when the update is compiled.
    static_batch: bool

    @abstractmethod
    def mode(self) -> Mode:
        """Return the PyTensor mode to compile with."""

    def place(self, batch: list[Any]) -> list[Any]:
        """Return the batch where the compiled function wants it."""
        return batch

    def place_state(self, variables: Iterable[SharedVariable]) -> None:
        """Put the values that persist where the compiled function wants them: here, leave them."""
        return

    def many(self, function: Function, data: Sequence[Any], batches: Any) -> list[Any]:
        """Call a function once for each batch, drawn from data by index.

        Parameters
        ----------
        function : Function
            Compiled for batches of this size.
        data : sequence of arrays
            One for each input; scalars are passed as they are.
        batches : (T, B) array of integers
            Rows of the data, for each of T calls.

        Returns
        -------
        list
            What the calls returned, output by output, of shape (T, ...).
        """
        results = [
            function(*self.place([a[rows] if a.ndim else a for a in data])) for rows in batches
        ]
        return [np.stack(values) for values in zip(*results, strict=True)]
