"""The loops of a recurrence: forwards, in reverse (J^T c) and of its tangents (J v).

All of them run the graph of one step, whose derivatives are taken symbolically. The reverse loop
and that of the tangents read the states of the forward loop. The sequences of a recurrence have
the shape (N, T, ...); within the loops the time is on the leading axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import clone_replace, graph_replace, vectorize_graph
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.derivatives import grads
from kfgn_graph.layers.dtypes import is_float

Kind = Literal["count", "sequence", "initial", "constant", "parameter"]


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a recurrence.

    Attributes
    ----------
    kinds : tuple of str
        What each input of the recurrence is: the number of steps, a sequence, an initial state,
        what all steps read, or a parameter, which is held.
    reads : tuple of Variable
        For each input the variable of the step: an entry of a sequence, the state before the
        step, or the input itself. That of the number of steps is not read.
    outputs : tuple of Variable
        The new states, in the order of the initial ones, then the other values of the step.
    length : int or None
        The number of steps, where it is constant: then it is no input.
    """

    kinds: tuple[Kind, ...]
    reads: tuple[Variable, ...]
    outputs: tuple[Variable, ...]
    length: int | None

    def numbers(self, kind: Kind) -> list[int]:
        """Return the numbers of the inputs of a kind."""
        return [k for k, own in enumerate(self.kinds) if own == kind]

    @property
    def n_states(self) -> int:
        """The number of states."""
        return self.kinds.count("initial")

    @property
    def differentiable(self) -> list[int]:
        """The numbers of the inputs with a derivative."""
        return [
            k
            for k, kind in enumerate(self.kinds)
            if kind in ("sequence", "initial", "constant") and is_float(self.reads[k])
        ]

    def steps(self, inputs: Sequence[Variable]) -> Variable | int:
        """Return the number of steps."""
        return inputs[0] if self.length is None else self.length


def in_time(v: Variable, columns: int = 0) -> TensorVariable:
    """Return a variable of shape (K, N, T, ...) as (T, K, N, ...), without K if there is none.

    A variable of shape (T,) is returned as it is.
    """
    if v.type.ndim == 1:
        return v
    last = columns + 1
    return v.dimshuffle(last, *range(last), *range(last + 1, v.type.ndim))


def by_example(v: Variable, columns: int = 0) -> TensorVariable:
    """Return a variable of shape (T, K, N, ...) as (K, N, T, ...): undo :func:`in_time`."""
    if v.type.ndim == 1:
        return v
    last = columns + 1
    return v.dimshuffle(*range(1, last + 1), 0, *range(last + 1, v.type.ndim))


def forwards(step: Step, inputs: Sequence[Variable]) -> list[Variable]:
    """Return the values after each step, of shape (N, T, ...)."""
    sequences, initial = step.numbers("sequence"), step.numbers("initial")
    others = [*step.numbers("constant"), *step.numbers("parameter")]
    order = [*sequences, *initial, *others]
    results = _scan(
        [step.reads[k] for k in order],
        step.outputs,
        [in_time(inputs[k]) for k in sequences],
        [inputs[k] for k in initial],
        [inputs[k] for k in others],
        step.steps(inputs),
    )
    return [by_example(v) for v in results]


def _scan(
    reads: Sequence[Variable],
    outputs: Sequence[Variable],
    sequences: Sequence[Variable],
    initial: Sequence[Variable],
    others: Sequence[Variable],
    n_steps: Variable | int,
    backwards: bool = False,
) -> list[Variable]:
    """Return the values after each step; ``reads`` are read in the order of the arguments."""

    def one(*values: Variable) -> list[Variable]:
        pairs = dict(zip(reads, values, strict=True))
        new = clone_replace(list(outputs), pairs, rebuild_strict=False)
        return [*map(_like, new[: len(initial)], initial), *new[len(initial) :]]

    counts = [] if isinstance(n_steps, int) else [n_steps]
    given = [*counts, *sequences, *initial, *others]
    # a scan looks into the graphs of its arguments, which are therefore roots
    own = [v.type() for v in given]
    first, second = len(counts) + len(sequences), len(given) - len(others)
    results = pytensor.scan(
        one,
        sequences=own[len(counts) : first],
        outputs_info=[*own[first:second], *[None] * (len(outputs) - len(initial))],
        non_sequences=own[second:],
        n_steps=own[0] if counts else n_steps,
        go_backwards=backwards,
        strict=True,
        return_list=True,
        return_updates=False,
    )
    results = graph_replace(results, dict(zip(own, given, strict=True)), strict=False)
    if counts:
        return results
    return [pt.specify_shape(v, (n_steps, *v.type.shape[1:])) for v in results]


def _like(new: Variable, state: Variable) -> Variable:
    """Return a new state of the type of the earlier one."""
    return new if new.type == state.type else pt.specify_shape(new, state.type.shape)


def _read_again(
    step: Step, inputs: Sequence[Variable], outputs: Sequence[Variable]
) -> tuple[dict[Variable, Variable], dict[Variable, Variable]]:
    """Return what the steps read: the variables of the step and the values, by kind.

    The states before each step become a sequence.
    """
    sequences = {step.reads[k]: in_time(inputs[k]) for k in step.numbers("sequence")}
    for k, after in zip(step.numbers("initial"), outputs, strict=False):
        first = inputs[k].dimshuffle("x", *range(inputs[k].type.ndim))
        sequences[step.reads[k]] = pt.concatenate([first, in_time(after)[:-1]], axis=0)
    others = [*step.numbers("constant"), *step.numbers("parameter")]
    return sequences, {step.reads[k]: inputs[k] for k in others}


def backwards(
    step: Step,
    inputs: Sequence[Variable],
    outputs: Sequence[Variable],
    cotangents: Sequence[Variable | None],
    columns: int = 0,
) -> list[TensorVariable]:
    """Return J^T c for the differentiable inputs, by backpropagation through time.

    Parameters
    ----------
    step : Step
        The step.
    inputs, outputs : sequence of Variable
        Those of the recurrence.
    cotangents : sequence of Variable or None
        c for each output, of shape (N, T, ...); None for zero.
    columns : int
        1 if the cotangents have an axis of columns before the others, of shape (K, N, T, ...).
    """
    given = {k: c for k, c in enumerate(cotangents) if c is not None}
    states, wrt = step.numbers("initial"), step.differentiable
    collected = [k for k in wrt if step.kinds[k] == "constant"]
    sequences = [k for k in wrt if step.kinds[k] == "sequence"]
    size = [next(iter(given.values())).shape[0]] if columns else []
    arrived = {k: _with_columns(step.outputs[k], columns) for k in given}
    later = [_with_columns(step.outputs[j], columns) for j in range(step.n_states)]
    sums = {k: _with_columns(step.reads[k], columns) for k in collected}
    total = {j: v for j, v in enumerate(later)}
    for k, v in arrived.items():
        total[k] = total[k] + v if k in total else v
    pulled = dict(zip(wrt, _pulled(step, wrt, total, columns), strict=True))
    new = [pulled[k] for k in states]
    new += [sums[k] + pulled[k] for k in collected] + [pulled[k] for k in sequences]
    read, others = _read_again(step, inputs, outputs)
    results = _scan(
        [*read, *arrived.values(), *later, *sums.values(), *others],
        new,
        [*read.values(), *(in_time(c, columns) for c in given.values())],
        [_zeros(inputs[k], size) for k in (*states, *collected)],
        list(others.values()),
        step.steps(inputs),
        backwards=True,
    )
    found = dict(zip([*states, *collected, *sequences], results, strict=True))
    last = {k: found[k][-1] for k in (*states, *collected)}
    moved = {k: by_example(found[k][::-1], columns) for k in sequences}
    return [(last | moved)[k] for k in wrt]


def _with_columns(v: Variable, columns: int) -> TensorVariable:
    """Return a variable of the type of v, with an axis of columns before if ``columns``."""
    return pt.tensor(dtype=v.type.dtype, shape=(*[None] * columns, *v.type.shape))


def _zeros(like: Variable, size: Sequence[Variable]) -> TensorVariable:
    shape = [like.shape[k] if n is None else n for k, n in enumerate(like.type.shape)]
    return pt.zeros((*size, *shape), dtype=like.type.dtype)


def _pulled(
    step: Step, wrt: Sequence[int], cotangents: dict[int, Variable], columns: int
) -> list[TensorVariable]:
    """Return J^T c of one step, for the inputs ``wrt``."""
    own = {k: step.outputs[k].type() for k in cotangents}
    known = {step.outputs[k].copy(): v for k, v in own.items()}
    reads = [step.reads[k] for k in wrt]
    pulled = grads(None, reads, known_grads=known, disconnected_inputs="ignore")
    given = {v: cotangents[k] for k, v in own.items()}
    if not columns:
        return clone_replace(pulled, given, rebuild_strict=False)
    any_columns = next(iter(given.values()))
    found = vectorize_graph(pulled, given)
    return [
        v if v.type.ndim > old.type.ndim else _zeros(old, [any_columns.shape[0]]) + v
        for v, old in zip(found, pulled, strict=True)
    ]


def tangents(
    step: Step,
    inputs: Sequence[Variable],
    outputs: Sequence[Variable],
    directions: dict[int, Variable],
) -> list[TensorVariable]:
    """Return J v for each output, of shape (N, T, ...).

    Parameters
    ----------
    step : Step
        The step.
    inputs, outputs : sequence of Variable
        Those of the recurrence.
    directions : dict
        v for the numbers of the inputs in which it is not zero, of their shapes.
    """
    states = step.numbers("initial")
    moving = sorted({*directions, *(k for k in states if is_float(step.reads[k]))})
    own = {k: step.reads[k].type() for k in moving}
    pushed = _pushed(step, own)
    read, others = _read_again(step, inputs, outputs)
    along = [k for k in moving if step.kinds[k] == "sequence"]
    fixed = [k for k in moving if step.kinds[k] == "constant"]
    results = _scan(
        [*read, *(own[k] for k in along), *(own[k] for k in states), *others]
        + [own[k] for k in fixed],
        pushed,
        [*read.values(), *(in_time(directions[k]) for k in along)],
        [directions.get(k, _zeros(inputs[k], [])) for k in states],
        [*others.values(), *(directions[k] for k in fixed)],
        step.steps(inputs),
    )
    return [by_example(v) for v in results]


def _pushed(step: Step, directions: dict[int, Variable]) -> list[TensorVariable]:
    """Return J v of one step, as the derivative of J^T c in c."""
    cotangents = [v.type() for v in step.outputs]
    copies = [v.copy() for v in step.outputs]
    reads = [step.reads[k] for k in directions]
    pulled = grads(
        None,
        reads,
        known_grads=dict(zip(copies, cotangents, strict=True)),
        disconnected_inputs="ignore",
    )
    known = {v.copy(): d for v, d in zip(pulled, directions.values(), strict=True)}
    found = grads(None, cotangents, known_grads=known, disconnected_inputs="ignore")
    zeros = {c: pt.zeros_like(v) for c, v in zip(cotangents, step.outputs, strict=True)}
    return clone_replace(found, zeros, rebuild_strict=False)


def constant_length(n_steps: Variable) -> int | None:
    """Return a number of steps if it is constant."""
    return int(n_steps.data) if isinstance(n_steps, Constant) else None
