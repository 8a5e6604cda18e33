"""From what an update is called with to arrays that its compiled function can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.backends.base import Backend
from kfgn_graph.errors import BatchError
from kfgn_graph.layers.batch_inputs import inputs_with_time_first, inputs_without_examples
from kfgn_graph.layers.draws import Draw
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.update.batches import check_batch, check_batches, check_examples, plain_array
from kfgn_graph.update.failures import may_raise
from kfgn_graph.update.indices import IndexChecks
from kfgn_graph.update.values import Values, length_of, size_for


class BatchReader:
    """Reads and checks batches.

    Parameters
    ----------
    graph : LayerGraph
        The layers and the loss.
    inputs : sequence of Variable
        The inputs of the update.
    minibatches : mapping of Variable to Variable
        Slices of data to compute from the inputs, each with the variable that stands for it.
    backend : Backend
        Compiles the update.
    draws : mapping of Variable to Draw
        The inputs of the graph that stand for random draws.
    most_outputs : int, optional
        The largest number of outputs of a batch, over all examples; None for any.

    Attributes
    ----------
    fallible : bool
        Whether an update may raise for some values of a batch.
    by_row : list of bool
        Whether the leading axis of each array of a batch enumerates examples.
    """

    def __init__(
        self,
        graph: LayerGraph,
        inputs: Sequence[Variable],
        minibatches: Mapping[Variable, Variable],
        backend: Backend,
        draws: Mapping[TensorVariable, Draw],
        most_outputs: int | None = None,
    ) -> None:
        values, loss, output = {v: d.value for v, d in draws.items()}, graph.loss, graph.output
        if values:
            loss, output = graph_replace([loss, output], values, strict=False)
        self._given, self._backend = list(inputs), backend
        self._inputs = [*inputs, *minibatches.values()]
        self._minibatches = Values(inputs, list(minibatches))
        self._output, self._most_outputs = output, most_outputs
        tables = inputs_without_examples([loss], self._inputs)
        tables |= inputs_with_time_first([loss], self._inputs)
        self.by_row = [v.type.ndim > 0 and v not in tables for v in self._inputs]
        self._indices = IndexChecks(loss, self._inputs, [*graph.parameters, *values.values()])
        by_xla = backend.static_batch
        unchecked = self._indices.incomplete and not by_xla
        self.fallible = unchecked or may_raise(loss, inputs, by_xla)

    def read(self, batch: Sequence[Any]) -> list[Any]:
        """Return the arrays of a batch, and of the minibatches that it selects.

        Raises
        ------
        BatchError
            If it does not fit the inputs; see :func:`check_batch` and :func:`check_examples`.
        """
        given = check_batch(self._given, batch, self._backend)
        arrays = [*given, *self._minibatches(given)]
        check_examples(self._inputs, arrays, self.by_row, lambda: int(self._count(given)[0]))
        return arrays

    @cached_property
    def _count(self) -> Values:
        """The number of examples, where it is not that of the rows of an input."""
        return Values(self._given, [length_of(self._output, 0)])

    def _check_outputs(self, arrays: Sequence[Any]) -> None:
        """Raise :class:`BatchError` if a batch has more outputs than the method allows."""
        if self._most_outputs is None:
            return
        count = size_for(self._output, dict(zip(self._inputs, arrays, strict=True)))
        if count is not None and count > self._most_outputs:
            raise BatchError(
                f"the batch has {count:,} outputs, over all examples, but the method takes at "
                f"most {self._most_outputs:,}, since its system has as many unknowns: pass fewer "
                "examples, raise the limit, as by KernelGaussNewton(limit=...), or use a factored "
                "method."
            )

    def read_many(self, data: Sequence[Any], batches: Any) -> tuple[list[Any], np.ndarray]:
        """Return the arrays of the data, and the rows of each batch.

        Raises
        ------
        BatchError
            If the data do not fit the inputs, or the batches the data, or an index in a batch is
            out of range.
        """
        data = list(data)
        pairs = zip(self._given, data, strict=False)
        plain = [plain_array(v, value, self._backend) for v, value in pairs]
        plain += list(data[len(plain) :])  # refused below, for their number
        by_row = self.by_row[: len(self._given)]
        rows = check_batches(
            batches, [a for a, r in zip(plain, by_row, strict=False) if r and a.ndim]
        )
        first = self.read(self.drawn(plain, rows[0]))
        self._check_outputs(first)
        pairs = zip(plain, first, strict=True)
        arrays = [a if a.dtype == b.dtype else a.astype(b.dtype) for a, b in pairs]
        if not self._indices.surely_hold(arrays, first):
            for batch in rows:
                self._indices(self.drawn(arrays, batch))
        return arrays, rows

    def drawn(self, data: Sequence[Any], rows: np.ndarray) -> list[Any]:
        """Return the rows of each array; an array that holds no examples is returned unchanged."""
        if len(data) != len(self.by_row):  # refused by `read`, for their number
            return list(data)
        pairs = zip(data, self.by_row, strict=True)
        return [a[rows] if by_row and a.ndim else a for a, by_row in pairs]

    def check(self, arrays: Sequence[Any], in_full: bool) -> None:
        """Raise :class:`BatchError` for an index out of range, or for too many outputs.

        Parameters
        ----------
        arrays : sequence of arrays
            The batch as :meth:`read` returned it.
        in_full : bool
            Whether to check the number of outputs, and arrays that are not in the memory of the
            host, too.
        """
        if in_full:
            self._check_outputs(arrays)
        if in_full or not any(self._backend.is_remote(a) for a in arrays):
            self._indices(arrays)
