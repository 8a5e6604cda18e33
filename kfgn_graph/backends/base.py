"""The interface of a compile backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pytensor.assumptions.specify import SpecifyAssumptions
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.basic import AllocDiag, Eye
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.backends.rewrites.declared import DROP_DECLARED
from kfgn_graph.backends.rewrites.linear_imports import LINEAR_IMPORTS

#: PyTensor's rewrites of products with matrices that are diagonal, or that select rows, and of
#: products and transposes of matrices that are orthogonal or symmetric. They search everything
#: that a matrix depends on.
STRUCTURED_PRODUCTS = (
    "dot_diag_to_elemwise",
    "selection_dot_to_indexing",
    "orthogonal_dot_transpose_to_eye",
    "useless_symmetric_transpose",
)
#: Ops whose results PyTensor knows to be such matrices.
STRUCTURED = (AllocDiag, Eye, SpecifyAssumptions)
#: PyTensor's rewrite of draws that overwrite their generator, which an interrupted update would
#: leave advanced.
RANDOM_IN_PLACE = "random_make_inplace"


def mode_for(backend: Backend, loss: Variable) -> Mode:
    """Return the mode for an update of a loss, without rewrites that find nothing in it.

    PyTensor asks of both operands of every product whether they are diagonal or select rows, and
    of every transposed matrix whether it is symmetric, in a time that grows with the square of the
    depth. An update has no such products of its own, so that this is left out unless the loss has
    structured or constant matrices.
    """
    nodes = toposort([loss])
    structured = any(
        isinstance(node.op, STRUCTURED)
        or any(isinstance(v, Constant) and getattr(v.type, "ndim", 0) > 1 for v in node.inputs)
        for node in nodes
    )
    mode = backend.mode().excluding(RANDOM_IN_PLACE).including(LINEAR_IMPORTS)
    if structured:
        return mode
    return mode.excluding(*STRUCTURED_PRODUCTS).including(DROP_DECLARED)


class Backend(ABC):
    """How functions are compiled, and where their arguments have to lie.

    Attributes
    ----------
    name : str
        The name by which the backend is chosen.
    static_batch : bool
        Whether the batch size has to be known when a function is compiled.
    stores_on_device : bool
        Whether updated variables hold arrays that are not NumPy's.
    """

    name: str
    static_batch: bool
    stores_on_device: bool = False

    @abstractmethod
    def mode(self) -> Mode:
        """Return the PyTensor mode to compile with."""

    def place(self, batch: list[Any], by_row: Sequence[bool]) -> list[Any]:
        """Return a batch on the device, or devices, of the compiled function.

        ``by_row`` says of each array whether its leading axis enumerates examples.
        """
        return batch

    def place_state(self, variables: Iterable[SharedVariable]) -> None:
        """Move the values of shared variables to the devices; by default nothing is moved."""
        return

    def generators(
        self, values: Sequence[TensorVariable], updates: Mapping[SharedVariable, Variable]
    ) -> tuple[list[TensorVariable], Mapping[SharedVariable, Variable]]:
        """Return random draws and next values over the random generators of the backend.

        Parameters
        ----------
        values : sequence of TensorVariable
            The draws, as functions of PyTensor's shared generators.
        updates : mapping
            The next values of shared variables, generators included.
        """
        return list(values), updates

    def array(self, value: Any) -> Any:
        """Return what a user passed as an array of the kind that compiled code reads.

        Raises
        ------
        Exception
            Whatever NumPy or the value's own type raises if there is no such array.
        """
        return np.asarray(value)

    def is_remote(self, array: Any) -> bool:
        """Return whether to read an array means to wait for another device than the CPU."""
        return False

    @abstractmethod
    def call(
        self, function: Function, batch: Sequence[Any], new: bool, fallible: bool
    ) -> list[Any]:
        """Call a function; if it raises, shared variables keep their values.

        Parameters
        ----------
        function : Function
            The compiled function.
        batch : sequence of arrays
            One array for each input.
        new : bool
            Whether this is the first batch of these shapes, so that the call may compile, and may
            find that shapes do not fit.
        fallible : bool
            Whether the graph may raise for some values of the batch, so that old values are kept.

        Raises
        ------
        CheckpointError
            If the call failed for another reason, such as a lack of memory, after it had
            overwritten values.
        """

    def many(
        self,
        function: Function,
        data: Sequence[Any],
        batches: Any,
        new: bool,
        fallible: bool,
        by_row: Sequence[bool],
    ) -> list[Any]:
        """Call a function once for each batch.

        Parameters
        ----------
        function : Function
            A function compiled for this batch size.
        data : sequence of arrays
            One array for each input.
        batches : integer array, shape (T, B)
            The rows of each batch.
        new, fallible : bool
            See :meth:`call`.
        by_row : sequence of bool
            Whether each array has an example in each row; the others are passed unchanged.

        Returns
        -------
        list of ndarray
            The results of all calls, one array of shape (T, ...) for each output.
        """
        results = []
        for k, rows in enumerate(batches):
            drawn = [a[rows] if r else a for a, r in zip(data, by_row, strict=True)]
            batch = self.place(drawn, by_row)
            results.append(self.call(function, batch, new and k == 0, fallible))
        return [np.stack(values) for values in zip(*results, strict=True)]
