"""The compiled update, and everything that persists between its calls."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import RLock
from time import perf_counter
from typing import Any

import numpy as np
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.interruptions import uninterrupted
from kfgn_graph.backends.transactions import put
from kfgn_graph.errors import BatchError, CheckpointError, SpecError
from kfgn_graph.layers.checking import listed
from kfgn_graph.layers.draws import is_generator
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.shared_values import read_on_host, stored_value, value_shape
from kfgn_graph.step.initial_state import new_state
from kfgn_graph.step.preconditioners import preconditioner_of
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import parameter_names
from kfgn_graph.tracing import Source
from kfgn_graph.update.batches import check_inputs
from kfgn_graph.update.building import fast_graph_construction, separate
from kfgn_graph.update.checkpoint import read_state, save_state
from kfgn_graph.update.failures import known_ops
from kfgn_graph.update.fitting import unfit_refused
from kfgn_graph.update.flatness import FirstUpdate
from kfgn_graph.update.functions import Functions, shapes_of
from kfgn_graph.update.minibatches import minibatches_of
from kfgn_graph.update.persistence import Persistent, SavedState
from kfgn_graph.update.reading import BatchReader
from kfgn_graph.update.stalling import StallDetector
from kfgn_graph.update.stats import UpdateStats
from kfgn_graph.update.summary import chosen_for, explain, explain_html


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
        inputs = listed(inputs, "inputs", BatchError)
        self._arguments = source.without_draws(), tuple(inputs)
        self._source = self._arguments[0]
        self.graph: LayerGraph = self._source.graph()
        for v in (source.loss, *self._source.updates.values()):
            check_inputs(v, (*inputs, *source.draws))
        minibatches = {}
        if backend.static_batch:
            minibatches = minibatches_of(self._source.outputs, inputs, self.graph.parameters)
        if minibatches:
            self._source = self._source.replaced(minibatches)
            self.graph = self._source.graph()
        draws = self._source.draws
        self._draws = bool(draws)
        self._source = self._source.with_generators(backend.generators)
        self._inputs = (*inputs, *minibatches.values())
        settings, self._choice = chosen_for(self.graph, settings)
        self._settings = settings
        self._backend = backend
        self._known_ops = known_ops(source.loss)
        most = preconditioner_of(settings.method).most_outputs(settings)
        self._reader = BatchReader(self.graph, inputs, minibatches, backend, draws, most)
        self._state = new_state(self.graph, settings)
        self._persistent = Persistent(self.graph, settings, self._state, self._source.updates)
        if backend.stores_on_device:
            own = (v for v in self._arguments[0].updates if not is_generator(v))
            read_on_host((*self.graph.parameters, *own), source.loss)
        self._lock = RLock()
        self._seen: set[tuple[Any, ...]] = set()
        self._functions = Functions(
            self._source, self.graph, self._inputs, settings, self._state, backend
        )
        self._first_updates: dict[tuple[Any, ...], tuple[str, float]] = {}
        self._stalling = StallDetector()
        self._first = FirstUpdate(self.graph)

    @property
    def backend(self) -> str:
        """The name of the backend in use."""
        return self._backend.name

    @property
    def mode(self) -> Mode:
        """The PyTensor mode of the backend, for other functions of the trained parameters.

        Functions of this mode read the parameters where they lie; those of other modes read a
        copy on the host.
        """
        return self._backend.mode()

    @property
    def by_row(self) -> tuple[bool, ...]:
        """Whether each input has an example in each row; any other is the same for all batches."""
        return tuple(self._reader.by_row[: len(self._arguments[1])])

    def device_parameters(self) -> dict[str, Any]:
        """Return the parameters as the backend stores them, without a copy.

        Returns
        -------
        dict
            Arrays by the parameters' names: on JAX, after an update, arrays of JAX on their
            device. The next update deletes or overwrites them.
        """
        with self._lock:
            values = [stored_value(p) for p in self.graph.parameters]
        return dict(zip(parameter_names(self.graph), values, strict=True))

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

        Warns
        -----
        StalledTrainingWarning
            If fifty updates in a row moved no parameter.
        ZeroCurvatureWarning
            If the first update finds no curvature, as :attr:`UpdateStats.flat` says.

        Notes
        -----
        Whatever is raised, :exc:`KeyboardInterrupt` included, parameters and state are those from
        before or those from after the update.
        """
        arrays = self._reader.read(batch)
        with self._lock:
            shapes = self._functions.shapes(arrays)
            new = shapes not in self._seen
            self._reader.check(arrays, new)
            placed = self._backend.place(arrays, self._reader.by_row)
            key = self._functions.key(arrays)
            if key in self._first_updates:
                values = self._call(arrays, placed, new)
            else:
                start = perf_counter()
                with fast_graph_construction():
                    values = self._call(arrays, placed, new)
                sizes = ", ".join(map(str, shapes_of(arrays)))
                self._first_updates[key] = sizes, perf_counter() - start
            self._seen.add(shapes)
            stats = UpdateStats(*values)
            self._stalling.add(stats)
            self._first.check(stats)
        return stats

    def _call(self, arrays: Sequence[Any], placed: list[Any], new: bool) -> list[Any]:
        with self._fitting(arrays, new):
            function = self.function_for(arrays)
            return self._backend.call(function, placed, new, self._reader.fallible)

    def _fitting(self, arrays: Sequence[Any], new: bool) -> AbstractContextManager[None]:
        """Return a context in which a first batch of its shapes that does not fit is refused."""
        if not new:
            return nullcontext()
        shared = {v: value_shape(v) for v in self._functions.fixed}
        return unfit_refused(self.graph, self._inputs, arrays, shared, self._known_ops)

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
            self._reader.check(self._reader.read(batch), in_full=True)

    def evaluate(self, *batch: Any) -> float:
        """Return the loss of a batch at the current parameters, without an update.

        A function is compiled at the first call, and on JAX for each number of examples.

        Parameters
        ----------
        *batch : arrays
            A batch, as the update is called with, of any size.

        Raises
        ------
        BatchError
            If the batch does not fit the inputs, or an index in it is out of range.
        SpecError
            If the loss draws random numbers, so that it has no single value.
        """
        if self._draws:
            raise SpecError(
                "the loss draws random numbers, as dropout does, so that one value of it says "
                "little: build the loss without draws, and compile it by pytensor.function."
            )
        arrays = self._reader.read(batch)
        with self._lock:
            self._reader.check(arrays, in_full=True)
            placed = self._backend.place(arrays, self._reader.by_row)
            with self._fitting(arrays, new=True):
                return float(self._functions.loss_of(arrays)(*placed))

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

        Warns
        -----
        StalledTrainingWarning
            If fifty updates in a row moved no parameter.
        ZeroCurvatureWarning
            If the first update finds no curvature, as :attr:`UpdateStats.flat` says.
        """
        whole, rows = self._reader.read_many(data, batches)
        first = self._reader.drawn(whole, rows[0])
        with self._lock:
            shapes = self._functions.shapes(first)
            new = shapes not in self._seen
            with self._fitting(first, new):
                function = self.function_for(first)
                values = self._backend.many(
                    function, whole, rows, new, self._reader.fallible, self._reader.by_row
                )
            self._seen.add(shapes)
            stats = UpdateStats(*values)
            self._stalling.add(stats, len(rows))
            self._first.check(stats)
        return stats

    def function_for(self, batch: Sequence[Any]) -> Function:
        """Return the PyTensor function that serves batches of this size, compiling it if need be.

        Parameters
        ----------
        batch : sequence of arrays
            A batch as the update is called with.

        Raises
        ------
        ParameterError
            If a parameter has been given another shape.
        """
        return self._functions.of(batch, self._persistent.variables.values)

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

    def state(self) -> SavedState:
        """Return copies of everything that persists: parameters, factors, counters.

        Returns
        -------
        dict
            NumPy arrays by name: ``parameters/<name>``, ``factors/<layer>/Q`` and so on.
            ``shared/<name>`` are the loss's random generators, as integers, and its shared
            variables with a default update. Its attribute ``settings`` records the method and the
            kind of inverse, which :meth:`load_state` compares.

        Raises
        ------
        ParameterError
            If a parameter has been given another shape.
        """
        with self._lock:
            self._functions.check_parameters()
            return self._persistent.read()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what :meth:`state` returned.

        Raises
        ------
        CheckpointError
            If names, shapes or dtypes do not fit this update, or the state is from an update of
            another method or kind of inverse; nothing is changed.
        """
        with self._lock:
            new = self._persistent.restored(state)
            uninterrupted(lambda: put(new))
            self._stalling = StallDetector()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`state` to a safetensors file, atomically."""
        save_state(self.state(), path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Restore what :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the file cannot be read, is altered or does not fit; nothing is changed.
        """
        self.load_state(read_state(path))

    @staticmethod
    def read_state(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
        """Read what :meth:`save` wrote, without an update.

        Returns
        -------
        dict
            The arrays of :meth:`state` by name.

        Raises
        ------
        CheckpointError
            If the file cannot be read or is altered.
        """
        return read_state(path)

    def __deepcopy__(self, memo: dict[int, Any]) -> Update:
        """Return an update of its own parameters, ``graph.parameters``, in the same state."""
        source, inputs = self._arguments
        own = {}
        for v in (*self.graph.parameters, *source.updates):
            if id(v) not in memo:
                memo[id(v)] = separate(v)
            own[v] = memo[id(v)]
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
        return explain(*self._summary())

    def _repr_html_(self) -> str:
        """Return the table of :meth:`explain` for a notebook."""
        return explain_html(*self._summary())

    def _summary(self) -> tuple[LayerGraph, Settings, str, list[tuple[str, float]], str]:
        first_updates = list(self._first_updates.values())
        return self.graph, self._settings, self._backend.name, first_updates, self._choice
