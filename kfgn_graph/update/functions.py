"""The compiled functions of an update: one for all batches, or one for each size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from typing import Any

import pytensor
from pytensor.compile.executor import Function
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import graph_inputs
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.type import TensorType

from kfgn_graph.backends.base import Backend, mode_for
from kfgn_graph.errors import ParameterError
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.printing import describe, printable
from kfgn_graph.shared_values import HostCell, value_shape
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import State
from kfgn_graph.step.updates import step_of
from kfgn_graph.tracing import Source
from kfgn_graph.update.building import fast_graph_construction, static_alias, stored_alias
from kfgn_graph.update.fitting import check_broadcasting
from kfgn_graph.update.stats import UpdateStats

#: The number of compiled functions that are kept, those of the sizes that were used last. One for
#: a small network takes about 17 MiB on JAX.
MOST_FUNCTIONS = 64


class Functions:
    """The functions that compute one update.

    At most :data:`MOST_FUNCTIONS` are kept; for other batch sizes they are compiled again.

    Parameters
    ----------
    source : Source
        The loss.
    graph : LayerGraph
        The layers that were found in it.
    inputs : sequence of Variable
        The inputs of the functions.
    settings : Settings
        How the update is computed.
    state : State
        The variables that persist.
    backend : Backend
        Compiles the functions.

    Attributes
    ----------
    fixed : tuple of shared variables
        The arrays that the loss reads and no update changes.
    """

    def __init__(
        self,
        source: Source,
        graph: LayerGraph,
        inputs: Sequence[Variable],
        settings: Settings,
        state: State,
        backend: Backend,
    ) -> None:
        self._source, self._inputs = source, inputs
        self._settings, self._state, self._backend = settings, state, backend
        self._step = step_of(source, graph, settings, state)
        self._shapes = {p: value_shape(p) for p in graph.parameters}
        self.fixed = fixed_variables(source.loss, {*graph.parameters, *source.updates})
        self._functions: dict[tuple[Any, ...], Function] = {}

    def of(
        self, batch: Sequence[Any], persistent: Callable[[], Iterable[SharedVariable]]
    ) -> Function:
        """Return the function that serves batches of this size, compiling it if need be.

        Parameters
        ----------
        batch : sequence of arrays
            The values of the inputs.
        persistent : callable
            Returns the variables that a new function moves to the devices of the backend.

        Raises
        ------
        ParameterError
            If a parameter has been given another shape.
        """
        self.check_parameters()
        key = self.key(batch)
        function = self._functions.pop(key, None)
        if function is None:
            with fast_graph_construction():
                function = self._compile(batch)
            self._backend.place_state(persistent())
            while len(self._functions) >= MOST_FUNCTIONS:
                del self._functions[next(iter(self._functions))]
        self._functions[key] = function  # the last, since it was used last
        return function

    def key(self, batch: Sequence[Any]) -> tuple[Any, ...]:
        """Return the key of a compiled function: the shapes that it was compiled for.

        They are the shapes of an example, and with a static batch size those of the batch.
        """
        if not self._backend.static_batch:
            return tuple(shape[1:] for shape in shapes_of(batch))
        return self.shapes(batch)

    def shapes(self, batch: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of a batch, and of the arrays that the graph reads besides."""
        return (*shapes_of(batch), *(value_shape(v) for v in self.fixed))

    def check_parameters(self) -> None:
        """Raise :class:`ParameterError` if a parameter has been given another shape."""
        for parameter, shape in self._shapes.items():
            now = value_shape(parameter)
            if now != shape:
                raise ParameterError(
                    f"parameter {describe(parameter)} has been given the shape {now}, but had "
                    f"{shape} when the update was built, which fixes the shapes of its factors: "
                    "compile another update for the new shape."
                )

    def _compile(self, batch: Sequence[Any]) -> Function:
        """Compile over variables of static shape, which share the user's own values."""
        inputs, static = self._static(batch)
        if all(interchangeable(old, new) for old, new in static.items()):
            inputs, step = list(self._inputs), self._step
        else:
            # recognised again, since canonicalisation leaves less where shapes are known
            source = self._source.replaced(static)
            check_broadcasting(self._source.loss, source.loss, static)
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

    def loss_of(self, batch: Sequence[Any]) -> Function:
        """Return a function that computes the loss of batches of this size, and changes nothing.

        Parameters
        ----------
        batch : sequence of arrays
            The values of the inputs.

        Raises
        ------
        ParameterError
            If a parameter has been given another shape.
        """
        self.check_parameters()
        key = ("loss", *self.key(batch))
        if key not in self._functions:
            inputs, static = self._static(batch)
            with fast_graph_construction():
                self._functions[key] = pytensor.function(
                    inputs,
                    self._source.replaced(static).loss,
                    mode=mode_for(self._backend, self._source.loss),
                    on_unused_input="ignore",
                    name="kfgn_loss",
                )
            self._functions[key].trust_input = True
        return self._functions[key]

    def _static(self, batch: Sequence[Any]) -> tuple[list[Variable], dict[Variable, Variable]]:
        """Return inputs of static shape, and the variables that stand for those of the graph."""
        inputs = [self._static_input(v, a) for v, a in zip(self._inputs, batch, strict=True)]
        static: dict[Variable, Variable] = dict(zip(self._inputs, inputs, strict=True))
        static |= {p: static_alias(p) for p in self._shapes}
        if self._backend.static_batch:
            static |= {v: static_alias(v) for v in self.fixed}
        read = (*graph_inputs(self._source.outputs), *self._source.updates)
        static |= {v: stored_alias(v) for v in read if v not in static and is_read_on_host(v)}
        return inputs, static

    def _static_input(self, variable: Variable, array: Any) -> Variable:
        shape = array.shape
        if not self._backend.static_batch:
            shape = (variable.type.shape[:1] + shape[1:]) if shape else shape
        return TensorType(variable.type.dtype, shape)(name=printable(variable.name))


def fixed_variables(
    loss: Variable, changing: Collection[Variable]
) -> tuple[TensorSharedVariable, ...]:
    """Return the shared arrays that a loss reads and no update changes, such as frozen layers.

    Those whose shape their type already states are left out.
    """
    return tuple(
        v
        for v in graph_inputs([loss])
        if isinstance(v, TensorSharedVariable) and v not in changing and None in v.type.shape
    )


def is_read_on_host(variable: Variable) -> bool:
    """Return whether a variable is shared and has a cell that copies values to the host."""
    return isinstance(variable, SharedVariable) and isinstance(
        variable.container.storage, HostCell
    )


def interchangeable(old: Variable, new: Variable) -> bool:
    """Return whether a function over one variable is the same as over the other."""
    return (new.type, new.name) == (old.type, old.name) and not is_read_on_host(old)


def shapes_of(arrays: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of arrays."""
    return tuple(a.shape for a in arrays)
