"""The compiled update, and everything that persists between its calls."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from time import perf_counter
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.type import TensorType

from kfgn_graph.backends.base import Backend, mode_for
from kfgn_graph.errors import SpecError
from kfgn_graph.layers.graph import LayerGraph, value_shape
from kfgn_graph.overlapping import Overlapping
from kfgn_graph.printing import printable
from kfgn_graph.step.initial_state import new_state
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import parameter_names
from kfgn_graph.step.updates import step_of
from kfgn_graph.tracing import Source
from kfgn_graph.update.batches import check_batch, check_batches, check_inputs
from kfgn_graph.update.checkpoint import read_state, save_state
from kfgn_graph.update.persistence import Persistent
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
        self._source = source.without_draws()
        self.graph: LayerGraph = self._source.graph()
        for v in (source.loss, *self._source.updates.values()):
            check_inputs(v, inputs)
        self._source = self._source.with_generators(backend.generators)
        self._inputs = tuple(inputs)
        self._settings = settings
        self._backend = backend
        self._state = new_state(self.graph, settings)
        self._step = step_of(self._source, self.graph, settings, self._state)
        self._persistent = Persistent(self.graph, settings, self._state, self._source.updates)
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
            If the batch does not fit the inputs; nothing is changed.
        """
        arrays = check_batch(self._inputs, batch)
        placed = self._backend.place(arrays)
        key = self._key(arrays)
        if key in self._first_updates:
            values = self._functions[key](*placed)
        else:
            start = perf_counter()
            with fast_graph_construction():
                values = self.function_for(arrays)(*placed)
            shapes = ", ".join(str(a.shape) for a in arrays)
            self._first_updates[key] = shapes, perf_counter() - start
        return UpdateStats(*values)

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
        rows = check_batches(batches, data)
        placed = [a if hasattr(a, "dtype") else np.asarray(a) for a in data]
        first = check_batch(self._inputs, [a[rows[0]] if a.ndim else a for a in placed])
        whole = [a.astype(b.dtype, copy=False) for a, b in zip(placed, first, strict=True)]
        values = self._backend.many(self.function_for(first), whole, rows)
        return UpdateStats(*values)

    def function_for(self, batch: Sequence[Any]) -> Function:
        """Return the PyTensor function that serves batches of this size, compiling it if need be.

        Parameters
        ----------
        batch : sequence of arrays
            A batch as the update is called with.
        """
        key = self._key(batch)
        if key not in self._functions:
            with fast_graph_construction():
                self._functions[key] = self._compile(batch)
            self._backend.place_state(self._persistent.variables.values())
        return self._functions[key]

    def _key(self, batch: Sequence[Any]) -> tuple[Any, ...]:
        """Return the key of a compiled function: the shapes that it was compiled for."""
        return tuple(a.shape for a in batch) if self._backend.static_batch else ()

    def _compile(self, batch: Sequence[Any]) -> Function:
        """Compile over variables of static shape, which share the user's own values."""
        inputs = [self._static_input(v, a) for v, a in zip(self._inputs, batch, strict=True)]
        static: dict[Variable, Variable] = dict(zip(self._inputs, inputs, strict=True))
        static |= {p: static_alias(p) for p in self.graph.parameters}
        if all((new.type, new.name) == (old.type, old.name) for old, new in static.items()):
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
        return TensorType(variable.type.dtype, shape)(name=printable(variable.name))

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
        values = [np.array(v.get_value(borrow=True)) for v in averages]
        return dict(zip(parameter_names(self.graph), values, strict=True))

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of everything that persists: parameters, factors, counters.

        Returns
        -------
        dict
            NumPy arrays by name: ``parameters/<name>``, ``factors/<layer>/Q`` and so on.
            ``shared/<name>`` are the loss's random generators, as integers, and its shared
            variables with a default update. Its attribute ``settings`` records the method and the
            kind of inverse, which :meth:`load_state` compares.
        """
        return self._persistent.read()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what :meth:`state` returned.

        Raises
        ------
        CheckpointError
            If names, shapes or dtypes do not fit this update, or the state is from an update of
            another method or kind of inverse; nothing is changed.
        """
        self._persistent.load(state)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`state` to a safetensors file, atomically."""
        save_state(self._persistent.read(), path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Restore what :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the file cannot be read, is altered or does not fit; nothing is changed.
        """
        self.load_state(read_state(path))

    def explain(self) -> str:
        """Return a table of the layers: their factors, shapes, flops and memory.

        After the first call it also reports the seconds of compilation.
        """
        first_updates = list(self._first_updates.values())
        return explain(self.graph, self._settings, self._backend.name, first_updates)


@contextmanager
def _fast() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        with pytensor.config.change_flags(traceback__limit=0):
            yield
    finally:
        if enabled:
            gc.enable()


#: Disables the garbage collector and PyTensor's creation traces while graphs are built. Cyclic
#: collection takes a fifth of the time, since millions of small objects are made that live on. The
#: traces record the line at which a variable was created; here the lines are the package's own.
#: Variables created before keep their traces.
fast_graph_construction = Overlapping(_fast)


def static_alias(parameter: TensorSharedVariable) -> TensorSharedVariable:
    """Return a variable that shares the parameter's value, with the value's shape in its type."""
    alias_type = TensorType(parameter.type.dtype, value_shape(parameter))
    return TensorSharedVariable(
        type=alias_type,
        value=None,
        strict=None,
        container=parameter.container,
        name=printable(parameter.name),
    )
