"""A loop over time in the intermediate representation, with its parameters read outside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import clone_replace, vectorize_graph
from pytensor.graph.traversal import graph_inputs
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.copies import copy_of
from kfgn_graph.layers.ir import affine, held, perturbation
from kfgn_graph.layers.loops import Loop
from kfgn_graph.layers.recurrence import Recurrence
from kfgn_graph.layers.step_uses import Use, find_uses
from kfgn_graph.layers.time_loops import Kind, Step, constant_length, in_time
from kfgn_graph.layers.views import underlying_parameter

#: From a variable with time and examples on the leading axes to that with the examples first.
Exchange = Callable[[Variable], Variable]


def opened(loop: Loop, trained: Collection[Variable], exchange: Exchange) -> list[Variable]:
    """Return what a loop returns, computed with the affine maps of its parameters outside it.

    Parameters
    ----------
    loop : Loop
        The loop.
    trained : collection of shared variables
        The parameters to train.
    exchange : callable
        From a variable of shape (T, N, ...) to that of shape (N, T, ...).

    Returns
    -------
    list of Variable
        For each state its values after the steps, then the collected values, of shape
        (N, T, ...).

    Raises
    ------
    NotOpened
        If a parameter enters a step where it cannot be read.
    """
    return _Opening(loop, trained, exchange).outputs()


class _Opening:
    """The inputs of a :class:`Recurrence`, by the variables of a step that read them."""

    def __init__(self, loop: Loop, trained: Collection[Variable], exchange: Exchange) -> None:
        self._loop = loop
        self._exchange = exchange
        self._uses = find_uses(loop, trained)
        self._views = loop.parameters(trained)
        self._parameters = dict(self._views)
        self._initial = [state.initial for state in loop.states]
        self._sequences = {v: self._by_example(w) for v, w in loop.sequences.items()}
        self._constants = {v: w for v, w in loop.constants.items() if v not in self._parameters}
        self._first = [*self._initial, *(v for v in self._sequences.values() if v.type.ndim > 1)][
            0
        ]
        for p, copies in self._uses.copies.items():
            view = self._parameters.pop(p)
            parameter = underlying_parameter(view, trained)
            stacked = copy_of(parameter, [self._n_examples])
            self._constants[copies] = vectorize_graph(view, {parameter: stacked})
        for use in self._uses.before:
            self._compute_before(use)
        self._keep_what_is_read()

    def _keep_what_is_read(self) -> None:
        """Leave out what the steps no longer read."""
        read = set(graph_inputs([*self._uses.outputs, *self._uses.inputs]))
        for values in (self._sequences, self._constants, self._parameters):
            for v in [v for v in values if v not in read]:
                values.pop(v)

    def _by_example(self, v: Variable) -> Variable:
        return self._exchange(v) if v.type.ndim > 1 else v

    @property
    def _n_examples(self) -> TensorVariable | int:
        static = self._first.type.shape[0]
        return self._first.shape[0] if static is None else static

    def _outer(self, v: Variable) -> Variable:
        return clone_replace(v, self._views, rebuild_strict=False)

    def _affine(self, use: Use, a: Variable) -> TensorVariable:
        bias = [] if use.bias is None else [self._outer(use.bias)]
        return affine(a, self._outer(use.weight), *bias)

    def _compute_before(self, use: Use) -> None:
        """Compute a use that reads no state, for all steps at once."""
        if not use.in_time:
            a = clone_replace(use.input, self._constants, rebuild_strict=False)
            self._constants[use.stand_in] = self._affine(use, a)
            return
        a = self._sequences.get(use.input)
        if a is None:
            read = {v: in_time(w) for v, w in self._sequences.items()} | self._constants
            a = self._exchange(vectorize_graph(use.input, read))
        self._sequences[use.stand_in] = self._affine(use, a)

    def outputs(self) -> list[Variable]:
        """Return what the loop returns, of shape (N, T, ...)."""
        zeros = [self._zeros(use) for use in self._uses.perturbed]
        op = self._recurrence(zeros)
        count = len(self._uses.outputs)
        perturbations = []
        if zeros:
            values = self._applied(op, zeros)[count:]
            for use, zero, a in zip(self._uses.perturbed, zeros, values, strict=True):
                perturbations.append(perturbation(zero, self._affine(use, held(a))))
        return self._applied(op, perturbations)[:count]

    def _zeros(self, use: Use) -> TensorVariable:
        """Return the value of a perturbation, of shape (N, T, ...)."""
        _, *event = use.stand_in.type.shape
        length = constant_length(self._loop.n_steps)
        n_steps = self._loop.n_steps if length is None else length
        return pt.zeros((self._n_examples, n_steps, *event), dtype=use.stand_in.type.dtype)

    def _applied(self, op: Recurrence, perturbations: Sequence[Variable]) -> list[Variable]:
        n_steps = [] if isinstance(self._loop.n_steps, Constant) else [self._loop.n_steps]
        parameters = [held(w) for w in self._parameters.values()]
        return op(
            *n_steps,
            *self._sequences.values(),
            *perturbations,
            *self._initial,
            *self._constants.values(),
            *parameters,
            return_list=True,
        )

    def _recurrence(self, zeros: Sequence[Variable]) -> Recurrence:
        """Return the loop as an Op, over the inputs of :meth:`_applied`."""
        loop, uses = self._loop, self._uses
        length = constant_length(loop.n_steps)
        stand_ins = dict(zip((use.stand_in for use in uses.perturbed), zeros, strict=True))
        initial = dict(zip((s.read for s in loop.states), self._initial, strict=True))
        groups: list[tuple[Kind, dict[Variable, Variable]]] = [
            ("count", {} if length is not None else {loop.n_steps: loop.n_steps}),
            ("sequence", {**self._sequences, **stand_ins}),
            ("initial", initial),
            ("constant", self._constants),
            ("parameter", self._parameters),
        ]
        kinds = tuple(kind for kind, group in groups for _ in group)
        read = tuple(v for _, group in groups for v in group)
        inputs = [v.type() for _, group in groups for v in group.values()]
        return Recurrence(inputs, Step(kinds, read, (*uses.outputs, *uses.inputs), length))
