"""The interface of a compile backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

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
