"""The interface of a compile backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.fg import AbstractFunctionGraph, FunctionGraph
from pytensor.graph.rewriting.basic import WalkingGraphRewriter

#: Numbers in a graph's arguments up to which calls from Python take as long as computing.
SMALL = 250_000


def is_small(fgraph: AbstractFunctionGraph) -> bool:
    """Return whether a graph's arguments hold few numbers, as far as their shapes are known."""
    shapes = [getattr(v.type, "shape", ()) for v in fgraph.inputs]
    return sum(prod(n or 1 for n in shape) for shape in shapes) <= SMALL


class InLargeNetworks(WalkingGraphRewriter):
    """A rewrite node by node, of the graphs of large networks alone."""

    def apply(self, fgraph: FunctionGraph, start_from: Any = None) -> Any:
        """Rewrite a graph."""
        return None if is_small(fgraph) else super().apply(fgraph, start_from)


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
