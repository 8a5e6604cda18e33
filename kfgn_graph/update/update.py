"""The compiled update, and everything that persists between its calls."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from threading import RLock
from time import perf_counter
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import graph_inputs
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.type import TensorType

from kfgn_graph.backends.base import Backend, mode_for
from kfgn_graph.backends.interruptions import uninterrupted
from kfgn_graph.backends.transactions import put
from kfgn_graph.errors import CheckpointError, ParameterError, SpecError
from kfgn_graph.layers.graph import LayerGraph, value_shape
from kfgn_graph.printing import describe
from kfgn_graph.step.initial_state import new_state
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import parameter_names
from kfgn_graph.step.updates import step_of
from kfgn_graph.tracing import Source
from kfgn_graph.update.batches import check_inputs
from kfgn_graph.update.building import fast_graph_construction, separate, static_alias
from kfgn_graph.update.checkpoint import read_state, save_state
from kfgn_graph.update.minibatches import minibatches_of
from kfgn_graph.update.reading import BatchReader, drawn
from kfgn_graph.update.stats import UpdateStats
from kfgn_graph.update.summary import explain


class Update:
    """A compiled training step; made by :func:`kfgn_graph.compile_update`.

    A call with a batch, one array for each input variable, updates the parameters in place and
    returns :class:`UpdateStats`. The function is compiled at the first call; a backend that
    needs the number of examples compiles once for each number.

    Attributes
    ----------
    graph : LayerGraph
        The layers, the loss and its output.
    backend : str
        The name of the backend in use.
    """

    def __init__(
        self, source: Source, inputs: Sequence[Variable], settings: Settings, backend: Backend
    ) -> None:
        self._arguments = source, tuple(inputs)
        self.graph: LayerGraph = source.graph()
        check_inputs(source.loss, inputs)
        minibatches = {}
        if backend.static_batch:
            minibatches = minibatches_of(source.loss, inputs, self.graph.parameters)
        if minibatches:
            source = source.replaced(minibatches)
            self.graph = source.graph()
        self._source = source
        self._inputs = (*inputs, *minibatches.values())
        self._settings = settings
        self._backend = backend
        self._reader = BatchReader(self.graph, inputs, minibatches, backend)
        self._shapes = {p: value_shape(p) for p in self.graph.parameters}
        self._state = new_state(self.graph, settings)
        self._step = step_of(source, self.graph, settings, self._state)
        self._data: list[TensorSharedVariable] = []  # those whose shapes are compiled in
        if backend.static_batch:
            self._data = data_of(source.loss, self.graph.parameters)
        self._lock = RLock()
        self._seen: set[tuple[Any, ...]] = set()
        self._functions: dict[tuple[Any, ...], Function] = {}
        self._first_updates: dict[tuple[Any, ...], tuple[str, float]] = {}

    @property
    def backend(self) -> str:
        """The name of the backend in use."""
        return self._backend.name

    @property
    def mode(self) -> Mode:
        """The PyTensor mode of the backend, for other functions of the trained parameters.

        After an update with JAX the parameters hold JAX arrays, which functions of other modes
        do not accept.
        """
        return self._backend.mode()

    def __call__(self, *batch: Any) -> UpdateStats:
        """Take one step on a batch.

        Parameters
        ----------
        *batch : arrays
            One for each input variable, examples along the leading axis.

        Raises
        ------
        BatchError
            If the batch does not fit the inputs, or an index in it is out of range.
        ParameterError
            If a parameter has been given another shape.

        Notes
        -----
        Whatever is raised, :exc:`KeyboardInterrupt` included, parameters and state are those from
        before or those from after the update.
        """
        arrays = self._reader.read(batch)
        with self._lock:
            self._reader.check(arrays, self._is_new(arrays))
            placed = self._backend.place(arrays)
            key = self._key(arrays)
            if key in self._first_updates:
                values = self._call(arrays, placed)
            else:
                start = perf_counter()
                with fast_graph_construction():
                    values = self._call(arrays, placed)
                shapes = ", ".join(str(a.shape) for a in arrays)
                self._first_updates[key] = shapes, perf_counter() - start
        return UpdateStats(*values)

    def _call(self, arrays: Sequence[Any], placed: list[Any]) -> list[Any]:
        function, new = self.function_for(arrays), self._is_new(arrays)
        values = self._backend.call(function, placed, new, self._reader.fallible)
        self._seen.add(shapes_of(arrays))
        return values

    def _is_new(self, arrays: Sequence[Any]) -> bool:
        """Return whether no batch of these shapes has been seen."""
        return shapes_of(arrays) not in self._seen

    def check(self, *batch: Any) -> None:
        """Raise the error that a call with this batch would raise, without an update.

        On JAX, indices in arrays that lie on another device than the CPU are checked in the first
        call for each shape only, since a call would wait for them. This method always checks them.

        Parameters
        ----------
        *batch : arrays
            A batch, as the update is called with.

        Raises
        ------
        BatchError
            If the batch does not fit the inputs, or an index in it is out of range.
        """
        with self._lock:
            self._reader.check(self._reader.read(batch), new=True)

    def many(self, data: Sequence[Any], batches: Any) -> UpdateStats:
        """Take one step for each batch, drawn from data by index.

        With JAX the steps are one compiled loop over data that stay on the device, which pays
        for small networks, where the call takes as long as the step. The loop is compiled once
        for each number of batches.

        Parameters
        ----------
        data : sequence of arrays
            One for each input variable, examples along the leading axis.
        batches : (T, B) array of integers
            Rows of the data that make up each of T batches.

        Returns
        -------
        UpdateStats
            Each statistic an array of shape (T,).

        Raises
        ------
        BatchError
            If the data do not fit the inputs, or the batches the data; nothing is changed.
        """
        whole, rows = self._reader.read_many(data, batches)
        first = drawn(whole, rows[0])
        with self._lock:
            function, new = self.function_for(first), self._is_new(first)
            values = self._backend.many(function, whole, rows, new, self._reader.fallible)
            self._seen.add(shapes_of(first))
        return UpdateStats(*values)

    def function_for(self, batch: Sequence[Any]) -> Function:
        """Return the PyTensor function that serves batches of this size, compiling it if need be.

        Parameters
        ----------
        batch : sequence of arrays
            A batch as the update is called with.
        """
        self._check_parameters()
        key = self._key(batch)
        if key not in self._functions:
            with fast_graph_construction():
                self._functions[key] = self._compile(batch)
            self._backend.place_state(self._persistent().values())
        return self._functions[key]

    def _key(self, batch: Sequence[Any]) -> tuple[Any, ...]:
        """Return the key of a compiled function: the shapes that it was compiled for."""
        if not self._backend.static_batch:
            return ()
        return (*shapes_of(batch), *(value_shape(v) for v in self._data))

    def _check_parameters(self) -> None:
        """Raise :class:`ParameterError` if a parameter has been given another shape."""
        for parameter, shape in self._shapes.items():
            now = np.shape(parameter.container.storage[0])
            if now != shape:
                raise ParameterError(
                    f"parameter {describe(parameter)} has been given the shape {now}, but had "
                    f"{shape} when the update was built, which fixes the shapes of its factors: "
                    "compile another update for the new shape."
                )

    def _compile(self, batch: Sequence[Any]) -> Function:
        """Compile over variables of static shape, which share the user's own values."""
        inputs = [self._static_input(v, a) for v, a in zip(self._inputs, batch, strict=True)]
        static: dict[Variable, Variable] = dict(zip(self._inputs, inputs, strict=True))
        static |= {p: static_alias(p) for p in self.graph.parameters}
        static |= {v: static_alias(v) for v in self._data}
        if all(new.type == old.type for old, new in static.items()):
            inputs, step = list(self._inputs), self._step
        else:
            # recognised again, since canonicalisation leaves less where shapes are known
            source = self._source.replaced(static)
            step = step_of(source, source.graph(), self._settings, self._state)
        function = pytensor.function(
            inputs,
            [step.statistics[field.name] for field in fields(UpdateStats)],
            updates=step.updates,
            mode=mode_for(self._backend, self._source.loss),
            on_unused_input="ignore",
            name="kfgn_update",
        )
        function.trust_input = True
        return function

    def _static_input(self, variable: Variable, array: Any) -> Variable:
        shape = array.shape
        if not self._backend.static_batch:
            shape = (variable.type.shape[:1] + shape[1:]) if shape else shape
        return TensorType(variable.type.dtype, shape)(name=variable.name)

    def _persistent(self) -> dict[str, SharedVariable]:
        names = [f"parameters/{name}" for name in parameter_names(self.graph)]
        return dict(zip(names, self.graph.parameters, strict=True)) | self._state.variables

    def averaged(self) -> dict[str, np.ndarray]:
        """Return copies of the parameters' averages over the updates so far.

        Returns
        -------
        dict
            NumPy arrays by the parameters' names.

        Raises
        ------
        SpecError
            If the update was compiled without ``average_iterates=True``.
        """
        averages = self._state.vector("averages")
        if not averages:
            raise SpecError("no averages are kept: compile the update with average_iterates=True.")
        with self._lock:
            values = [np.array(v.get_value(borrow=True)) for v in averages]
        return dict(zip(parameter_names(self.graph), values, strict=True))

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of everything that persists: parameters, factors, counters.

        Returns
        -------
        dict
            NumPy arrays by name: ``parameters/<name>``, ``factors/<layer>/Q`` and so on.
        """
        own = self._persistent().items()
        with self._lock:
            return {name: np.array(v.get_value(borrow=True)) for name, v in own}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what :meth:`state` returned.

        Raises
        ------
        CheckpointError
            If names, shapes or dtypes do not fit this update; nothing is changed.
        """
        own = self._persistent()
        if set(state) != set(own):
            raise CheckpointError(
                f"the state does not fit: missing {sorted(set(own) - set(state))}, unknown "
                f"{sorted(set(state) - set(own))}. It must be of the same network and settings."
            )
        for name, v in own.items():
            there, here = np.asarray(state[name]), v.container.storage[0]  # deleted or not
            if there.shape != here.shape or there.dtype != here.dtype:
                raise CheckpointError(
                    f"the state does not fit: {name} is {there.dtype} {there.shape}, but "
                    f"{here.dtype} {here.shape} is wanted."
                )
        new = [(v.container.storage, np.array(state[name])) for name, v in own.items()]
        with self._lock:
            uninterrupted(lambda: put(new))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`state` to a safetensors file, atomically."""
        save_state(self.state(), path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Restore what :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the file cannot be read or does not fit; nothing is changed.
        """
        self.load_state(read_state(path))

    def __deepcopy__(self, memo: dict[int, Any]) -> Update:
        """Return an update of its own parameters, ``graph.parameters``, in the same state."""
        source, inputs = self._arguments
        own = {p: separate(p) for p in self.graph.parameters}
        with fast_graph_construction():
            copied = Update(source.replaced(own), inputs, self._settings, self._backend)
        copied.load_state(self.state())
        return copied

    def __getstate__(self) -> Any:
        """Raise, since compiled functions and parameters that a graph shares cannot be copied."""
        raise CheckpointError(
            "an update cannot be pickled, since it trains the variables of a graph by a compiled "
            "function: pass on update.state() and the code that builds the update, or use "
            "copy.deepcopy for one with separate parameters."
        )

    def explain(self) -> str:
        """Return a table of the layers: their factors, shapes, flops and memory.

        After the first call it also reports the seconds of compilation.
        """
        first_updates = list(self._first_updates.values())
        return explain(self.graph, self._settings, self._backend.name, first_updates)


def shapes_of(arrays: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of arrays."""
    return tuple(a.shape for a in arrays)


def data_of(loss: Variable, parameters: Sequence[Variable]) -> list[TensorSharedVariable]:
    """Return the shared arrays that a loss reads beside the parameters, of unknown shapes."""
    return [
        v
        for v in graph_inputs([loss])
        if isinstance(v, TensorSharedVariable) and v not in parameters and None in v.type.shape
    ]
