"""The parts of a loop (``Scan``), with one step in the intermediate representation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.scalar import Add
from pytensor.scan.op import Scan
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.subtensor import IncSubtensor
from pytensor.tensor.type import TensorType

from kfgn_graph.layers.dtypes import is_float, rebuild_with_dtype
from kfgn_graph.layers.rewriting import in_layers, inlined
from kfgn_graph.layers.traversal import clients_of
from kfgn_graph.layers.views import underlying_parameter


class NotOpened(Exception):
    """The error for a loop that cannot be read, with the reason."""


@dataclass(frozen=True, eq=False)
class State:
    """A value that a loop carries from step to step.

    Attributes
    ----------
    read : Variable
        The variable of a step that holds it.
    initial : Variable
        The value before the first step.
    """

    read: Variable
    initial: Variable


@dataclass(frozen=True, eq=False)
class Trace:
    """An output of a loop that holds the values of a state: initial ones, then all later ones.

    Attributes
    ----------
    result : Variable
        The output, of shape (depth + T, ...).
    initial : Variable
        The initial values, of shape (depth, ...).
    depth : int
        Their number.
    number : int
        The number of the state whose values after each step it has.
    """

    result: Variable
    initial: Variable
    depth: int
    number: int


def _initial_values(buffer: Variable, depth: int) -> Variable:
    """Return the first entries of the array that a loop writes its states to."""
    node = buffer.owner
    if node is not None and isinstance(node.op, IncSubtensor) and node.op.set_instead_of_inc:
        value = node.inputs[1]
        if value.type.ndim == buffer.type.ndim:
            return value
    return buffer[:depth]


def _entry(v: Variable, k: int) -> Variable:
    """Return ``v[k]``, or what v was made of by adding an axis."""
    node = v.owner
    added = ("x", *range(v.type.ndim - 1))
    if node is not None and isinstance(node.op, DimShuffle) and node.op.new_order == added:
        return node.inputs[0]
    return v[k]


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop over time.

    Attributes
    ----------
    n_steps : Variable
        The number of steps.
    sequences, constants : dict
        The variables of a step that read an entry of a sequence, or the same value in each step,
        with what the loop reads. No constant is a function of parameters, unless it is a view.
    states : tuple of State
        What is carried from step to step. A state of which a step reads several earlier values
        counts as several.
    traces : tuple of Trace
        The loop's outputs that hold values of states.
    collected : tuple of Variable
        The loop's outputs that collect values that are not carried.
    outputs : tuple of Variable
        The values that a step returns: the new states, then those of ``collected``.
    """

    n_steps: Variable
    sequences: dict[Variable, Variable]
    constants: dict[Variable, Variable]
    states: tuple[State, ...]
    traces: tuple[Trace, ...]
    collected: tuple[Variable, ...]
    outputs: tuple[Variable, ...]

    def parameters(self, trained: Collection[Variable]) -> dict[Variable, Variable]:
        """Return the variables of a step that are trained parameters or views, with what."""
        found = {}
        for inner, outer in self.constants.items():
            if underlying_parameter(outer, trained) is not None:
                found[inner] = outer
        return found


def read_loop(
    node: Apply,
    trained: Collection[Variable],
    functions: Collection[Variable],
    dtype: str,
) -> Loop:
    """Return the parts of a loop.

    Parameters
    ----------
    node : Apply
        The node of a Scan.
    trained : collection of shared variables
        The parameters to train.
    functions : collection of Variable
        The variables that are functions of parameters alone, which each step computes.
    dtype : str
        The dtype in which the network is computed.

    Raises
    ------
    NotOpened
        If the loop ends by a condition, truncates the gradient, or carries what is no array.
    """
    _check_kind(node)
    graph = node.op.fgraph.unfreeze()
    inner, outer = list(graph.inputs), list(node.inputs)
    states, traces = _states(node.op, inner, outer, list(node.outputs))
    returned = list(graph.outputs)
    seqs = dict(zip(node.op.inner_seqs(inner), node.op.outer_seqs(outer), strict=True))
    others = dict(zip(node.op.inner_non_seqs(inner), node.op.outer_non_seqs(outer), strict=True))
    loop = Loop(
        n_steps=outer[0],
        sequences=seqs,
        constants=others,
        states=tuple(state for group in states for state in group),
        traces=tuple(traces),
        collected=tuple(node.op.outer_nitsot_outs(list(node.outputs))),
        outputs=tuple([*_new_states(states, returned), *returned[len(traces) :]]),
    )
    loop = _in_dtype(_with_functions(loop, trained, functions), trained, dtype)
    found = in_layers(with_flat_sums(loop.outputs), list(loop.parameters(trained)))
    return replace(loop, outputs=tuple(found))


def _check_kind(node: Apply) -> None:
    info = node.op.info
    if info.as_while:
        raise NotOpened("a loop that ends by a condition (until) has no fixed number of steps")
    if node.op.truncate_gradient != -1:
        raise NotOpened(
            "a loop with truncate_gradient has a gradient that is not the loss's: leave it out"
        )
    if info.n_mit_mot or info.n_untraced_sit_sot:
        raise NotOpened("a loop that carries a random generator, or derivatives, is not read")


def _states(
    op: Scan, inner: list[Variable], outer: list[Variable], results: list[Variable]
) -> tuple[list[list[State]], list[Trace]]:
    """Return the states of each trace, the latest first, and the traces."""
    taps = (*op.info.mit_sot_in_slices, *op.info.sit_sot_in_slices)
    reads = [*op.inner_mitsot_grouped(inner), *([v] for v in op.inner_sitsot(inner))]
    buffers = [*op.outer_mitsot(outer), *op.outer_sitsot(outer)]
    found = [*op.outer_mitsot_outs(results), *op.outer_sitsot_outs(results)]
    states: list[list[State]] = []
    traces: list[Trace] = []
    for own, read, buffer, result in zip(taps, reads, buffers, found, strict=True):
        depth = -min(own)
        initial = _initial_values(buffer, depth)
        by_tap = dict(zip(own, read, strict=True))
        lags = range(-1, -depth - 1, -1)
        earlier = [by_tap[k] if k in by_tap else read[0].type() for k in lags]
        traces.append(Trace(result, initial, depth, sum(len(group) for group in states)))
        states.append([State(v, _entry(initial, depth - 1 - k)) for k, v in enumerate(earlier)])
    return states, traces


def _new_states(states: Sequence[Sequence[State]], returned: Sequence[Variable]) -> list[Variable]:
    """Return the states after a step: the new value, then all earlier ones but the oldest."""
    new = []
    for group, value in zip(states, returned, strict=False):
        new += [value, *(state.read for state in group[:-1])]
    return new


def _with_functions(
    loop: Loop, trained: Collection[Variable], functions: Collection[Variable]
) -> Loop:
    """Return the loop with functions of parameters, but no views, computed by the steps."""
    roots: dict[Variable, Variable] = {}
    computed: dict[Variable, Variable] = {}
    for inner, outer in loop.constants.items():
        if outer not in functions or underlying_parameter(outer, trained) is not None:
            continue
        for root in graph_inputs([outer]):
            if not isinstance(root, Constant):
                roots.setdefault(root, root.type(name=root.name))
        computed[inner] = clone_replace(outer, roots)
    if not computed:
        return loop
    constants = {v: w for v, w in loop.constants.items() if v not in computed}
    constants |= {inner: root for root, inner in roots.items()}
    outputs = clone_replace(list(loop.outputs), computed, rebuild_strict=False)
    return replace(loop, constants=constants, outputs=tuple(outputs))


def _in_dtype(loop: Loop, trained: Collection[Variable], dtype: str) -> Loop:
    """Return the loop over variables of the dtype in which the network is computed."""
    reads = [state.read for state in loop.states]
    own = {v: _own(v, dtype) for v in (*loop.sequences, *reads, *loop.constants)}
    parameters = [own[v] for v in loop.parameters(trained)]
    outputs = inlined(loop.outputs, parameters)
    outputs = clone_replace(outputs, own, rebuild_strict=False)
    return Loop(
        n_steps=loop.n_steps,
        sequences={own[v]: _cast(w, dtype) for v, w in loop.sequences.items()},
        constants={own[v]: _cast(w, dtype) for v, w in loop.constants.items()},
        states=tuple(State(own[s.read], _cast(s.initial, dtype)) for s in loop.states),
        traces=tuple(replace(t, initial=_cast(t.initial, dtype)) for t in loop.traces),
        collected=loop.collected,
        outputs=tuple(rebuild_with_dtype(outputs, parameters, dtype)),
    )


def _own(v: Variable, dtype: str) -> Variable:
    if not isinstance(v.type, TensorType):
        raise NotOpened("a loop that reads a random generator is not read")
    return TensorType(dtype if is_float(v) else v.type.dtype, v.type.shape)(name=v.name)


def _cast(v: Variable, dtype: str) -> Variable:
    return v.astype(dtype) if is_float(v) and v.type.dtype != dtype else v


def with_flat_sums(outputs: Sequence[Variable]) -> list[Variable]:
    """Return outputs in which a sum of sums, such as (x W + h U) + b, is one sum of all terms."""
    clients = clients_of(toposort(outputs))
    flat: dict[Variable, Variable] = {}
    for node in toposort(outputs):
        terms = [t for v in node.inputs for t in _terms(v, clients, flat)] if _is_sum(node) else []
        inputs = terms or [flat.get(v, v) for v in node.inputs]
        if inputs != node.inputs:
            results = [pt.add(*terms)] if terms else node.clone_with_new_inputs(inputs).outputs
            flat.update(zip(node.outputs, results, strict=True))
    return [flat.get(v, v) for v in outputs]


def _is_sum(node: Apply | None) -> bool:
    return (
        node is not None and isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Add)
    )


def _terms(
    v: Variable,
    clients: Mapping[Variable, Sequence[tuple[Apply, int]]],
    flat: Mapping[Variable, Variable],
) -> Sequence[Variable]:
    """Return the terms of v if it is a sum that has no other client; else v."""
    new = flat.get(v, v)
    return new.owner.inputs if _is_sum(v.owner) and len(clients[v]) == 1 else [new]


def reads(v: Variable, sources: Collection[Variable]) -> bool:
    """Return whether a variable of a step reads one of ``sources``."""
    return any(root in sources for root in graph_inputs([v]))
