"""Checks of integers that index an axis, such as labels, before compiled code reads them.

Compiled code does not check them: an index out of range reads and writes foreign memory on Numba,
and is clamped to the axis on JAX.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import ancestors, graph_inputs, toposort
from pytensor.scalar.basic import Cast
from pytensor.scan.op import Scan
from pytensor.tensor.basic import ARange, ScalarFromTensor, TensorFromScalar
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.shape import Reshape
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.subtensor import (
    AdvancedIncSubtensor,
    AdvancedSubtensor,
    IncSubtensor,
    Subtensor,
    indices_from_subtensor,
)

from kfgn_graph.errors import BackendError, BatchError
from kfgn_graph.printing import describe, name_of, names
from kfgn_graph.shared_values import value_shape
from kfgn_graph.update.scan_indices import Loop
from kfgn_graph.update.values import Values, length_of, reads


@dataclass(frozen=True, eq=False)
class Use:
    """A variable of integers that indexes an axis.

    Attributes
    ----------
    index : Variable
        The integers.
    array : Variable
        The indexed array.
    axis : int
        The axis of the array.
    """

    index: Variable
    array: Variable
    axis: int


def uses_of(outputs: Sequence[Variable]) -> Iterator[Use]:
    """Yield every use of integers as indices in a graph, also in the loop of a ``Scan``."""
    for node in toposort(outputs):
        if isinstance(node.op, Scan):
            yield from uses_in_loop(node)
            continue
        if isinstance(node.op, Subtensor | AdvancedSubtensor):
            array, *rest = node.inputs
        elif isinstance(node.op, IncSubtensor | AdvancedIncSubtensor):
            array, _, *rest = node.inputs
        else:
            continue
        axis = 0
        for entry in indices_from_subtensor(rest, node.op.idx_list):
            if isinstance(entry, slice):
                axis += 1
            elif getattr(entry.type, "dtype", None) == "bool":
                axis += entry.type.ndim
            else:
                yield Use(entry, array, axis)
                axis += 1


def uses_in_loop(node: Apply) -> Iterator[Use]:
    """Yield the uses of indices in the loop of a ``Scan``, over variables outside the loop.

    Raises
    ------
    BackendError
        If an index cannot be computed outside the loop.
    """
    loop = Loop(node)
    for use in uses_of(loop.outputs):
        if isinstance(use.index, Constant) or is_range(use.index):
            continue
        index = loop.at_all_steps(use.index)
        if index is None:
            raise BackendError(
                f"{describe(node.outputs[0])} indexes axis {use.axis} of {name_of(use.array)} in "
                "its loop, by integers that cannot be computed before an update, so that their "
                "range cannot be checked: compute them outside of the scan, and pass them as one "
                "of its sequences."
            )
        yield Use(index, loop.at_first_step(use.array), use.axis)


def rearranged(index: Variable) -> Variable:
    """Return the variable of which an index has the same values, rearranged, or some of them."""
    while index.owner is not None:
        op = index.owner.op
        keeps = isinstance(op, DimShuffle | Reshape | ScalarFromTensor | TensorFromScalar) or (
            isinstance(op, Subtensor) or widens(index)
        )
        if not keeps:
            break
        index = index.owner.inputs[0]
    return index


def widens(variable: Variable) -> bool:
    """Return whether a variable is another one, cast to a dtype that holds all of its values."""
    op = variable.owner.op
    cast = isinstance(op, Elemwise) and isinstance(op.scalar_op, Cast)
    return cast and np.can_cast(variable.owner.inputs[0].type.dtype, variable.type.dtype, "safe")


class IndexChecks:
    """The checks of a batch's indices.

    Indices that depend on parameters are not checked. They are the results of functions such as
    ``argmax``, whose values are in range.

    Parameters
    ----------
    loss : Variable
        The loss.
    inputs : sequence of Variable
        The inputs of the update.
    parameters : collection of Variable
        The trained parameters.
    """

    def __init__(
        self, loss: Variable, inputs: Sequence[Variable], parameters: Collection[Variable]
    ) -> None:
        self._inputs = list(inputs)
        uses = [u for u in uses_of([loss]) if not isinstance(u.index, Constant)]
        #: Whether some indices cannot be known before the update.
        self.incomplete = any(reads(u.index, parameters) for u in uses)
        self._uses = [u for u in uses if not reads(u.index, parameters) and not is_range(u.index)]
        self._lengths = Values(inputs, [length_of(u.array, u.axis) for u in self._uses])
        self._indices = Values(inputs, [pt.as_tensor(u.index) for u in self._uses])
        self._known: dict[Any, list[int]] = {}
        self._by_value = any(v.type.ndim == 0 for v in inputs)
        arrays = graph_inputs([u.array for u in self._uses])
        self._shared = [v for v in arrays if isinstance(v, TensorSharedVariable)]

    def __call__(self, batch: Sequence[Any]) -> None:
        """Raise :class:`BatchError` if an index of a batch is out of range.

        Parameters
        ----------
        batch : sequence of arrays
            One for each input.
        """
        if self._uses and not self.surely_hold(batch, batch):
            indices = self._computed(batch)
            values = zip(self._uses, indices, self._lengths_of(batch), strict=True)
            for use, index, length in values:
                check(use, index, length, self._inputs)

    def _computed(self, batch: Sequence[Any]) -> list[np.ndarray]:
        """Return the indices; raise if one that they are computed from is out of range."""
        try:
            return self._indices(batch)
        except IndexError as error:
            arrays = names({u.array: None for u in self._uses})
            raise BatchError(
                f"an index of {arrays}, computed from the batch, is out of range "
                f"({str(error).splitlines()[0]}). Correct the values that it is computed from."
            ) from error

    def surely_hold(self, data: Sequence[Any], batch: Sequence[Any]) -> bool:
        """Return whether no row of the data has an index out of range.

        False is returned, too, where this takes more than the largest value of an input.

        Parameters
        ----------
        data, batch : sequences of arrays
            One for each input; the batch is one that is drawn from the data.
        """
        pairs = zip(self._uses, self._lengths_of(batch), strict=True) if self._uses else ()
        return all(self._holds(use, length, data) for use, length in pairs)

    def _lengths_of(self, batch: Sequence[Any]) -> list[int]:
        """Return the length of each indexed axis."""
        if self._by_value:
            return [int(n) for n in self._lengths(batch)]
        key = (*(a.shape for a in batch), *map(value_shape, self._shared))
        if key not in self._known:
            self._known[key] = [int(n) for n in self._lengths(batch)]
        return self._known[key]

    def _holds(self, use: Use, length: int, batch: Sequence[Any]) -> bool:
        """Return whether all values that an index is taken from are from 0 to ``length - 1``."""
        root = rearranged(use.index)
        if root in self._inputs:
            values = batch[self._inputs.index(root)]
        elif isinstance(root, SharedVariable):
            values = root.get_value(borrow=True)
        else:
            return False
        values = np.asarray(values)
        if not values.size:
            return True
        # of a negative number the unsigned view is larger than any length
        unsigned = values.view(f"u{values.dtype.itemsize}")
        return bool(np.maximum.reduce(unsigned, axis=None) < length)


def is_range(index: Variable) -> bool:
    """Return whether an index counts the rows of another axis, or is constant."""
    root = rearranged(index)
    return isinstance(root, Constant) or (
        root.owner is not None and isinstance(root.owner.op, ARange)
    )


def check(use: Use, index: np.ndarray, length: int, inputs: Sequence[Variable]) -> None:
    """Raise :class:`BatchError` if an index is outside of an axis of a length."""
    outside = (index < -length) | (index >= length)
    if not outside.any():
        return
    place = tuple(int(i) for i in np.argwhere(outside)[0])
    root = rearranged(use.index)
    if root in inputs:
        what = f"input {describe(root)} has"
    elif isinstance(root, SharedVariable):
        what = f"the shared variable {describe(root)} has"
    else:
        read = [v for v in inputs if v in set(ancestors([use.index]))]
        what = f"the index {name_of(use.index)}, computed from {names(read) or 'data'}, has"
    at = f" at {list(place)}" if place else ""
    raise BatchError(
        f"{what} the value {index[place]}{at}, but indexes axis {use.axis} of "
        f"{name_of(use.array)}, of length {length}: values from 0 to {length - 1} exist, and "
        f"from -{length} to -1 counted from the end. Correct the value; to leave an example out, "
        "give it an index in range and the weight 0."
    )
