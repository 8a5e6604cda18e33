"""Variables of shape (T, N, ...), time before the examples, with the examples first.

Loops over time have the time on the leading axis. The proofs of the compiler begin with the
examples on the leading axis. The graph of a loss is therefore rebuilt from its inputs on: each
loop returns values of shape (N, T, ...), and the axes of what is computed from them are exchanged,
as far as the rule of each Op allows.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import toposort
from pytensor.scan.op import Scan
from pytensor.tensor.shape import Shape
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import UnmatchedParameterError
from kfgn_graph.layers.entries import functions_of_parameters
from kfgn_graph.layers.exchange_rules import (
    after_exchange,
    exchanged_axes,
    lengths_after_exchange,
)
from kfgn_graph.layers.loops import Loop, NotOpened, Trace, read_loop
from kfgn_graph.layers.opening import opened
from kfgn_graph.layers.time_loops import in_time
from kfgn_graph.layers.traversal import dependents, value_roots
from kfgn_graph.printing import describe


def with_opened_loops(
    loss: TensorVariable, parameters: Collection[Variable], dtype: str, required: bool
) -> TensorVariable:
    """Return a loss whose loops read their parameters by affine maps outside them.

    Parameters
    ----------
    loss : scalar TensorVariable
        A loss in the intermediate representation. Its graph is not changed.
    parameters : collection of shared variables
        The parameters to train.
    dtype : str
        The dtype in which the network is computed.
    required : bool
        Whether a loop that cannot be opened is an error; else it is left as it is.

    Raises
    ------
    UnmatchedParameterError
        If a loop that reads a parameter cannot be opened.
    """
    varying = dependents([loss], parameters)
    nodes = list(toposort([loss]))
    if not any(isinstance(n.op, Scan) and any(v in varying for v in n.inputs) for n in nodes):
        return loss
    rebuilt = Rebuilt(parameters, functions_of_parameters(loss, parameters), dtype, required)
    for node in nodes:
        if isinstance(node.op, Scan) and any(v in varying for v in node.inputs):
            rebuilt.open(node)
        else:
            rebuilt.add(node)
    return rebuilt.plain(loss)


class Rebuilt:
    """A graph that is rebuilt with the examples first.

    Parameters
    ----------
    parameters : collection of shared variables
        The parameters to train.
    functions : collection of Variable
        The functions of parameters alone.
    dtype, required
        As of :func:`with_opened_loops`.
    """

    def __init__(
        self,
        parameters: Collection[Variable],
        functions: Collection[Variable],
        dtype: str,
        required: bool,
    ) -> None:
        self._parameters = parameters
        self._functions = functions
        self._dtype = dtype
        self._required = required
        self._plain: dict[Variable, Variable] = {}
        self._by_example: dict[Variable, Variable] = {}
        self._states: dict[Variable, StateValues] = {}

    def plain(self, v: Variable) -> Variable:
        """Return the new variable for v, with the axes of v."""
        if v not in self._plain and self.is_exchanged(v):
            self._plain[v] = in_time(self.by_example(v))
        return self._plain.get(v, v)

    def is_exchanged(self, v: Variable) -> bool:
        """Return whether v is known with the examples first."""
        return v in self._by_example or v in self._states

    def by_example(self, v: Variable) -> Variable:
        """Return the new variable for v, of shape (T, N, ...), with its axes exchanged."""
        if v not in self._by_example:
            state = self._states.get(v)
            self._by_example[v] = exchanged_axes(self.plain(v)) if state is None else state.all()
        return self._by_example[v]

    def state(self, v: Variable) -> StateValues | None:
        """Return the values of a state, if v is the output of a loop that holds them."""
        return self._states.get(v)

    def add(self, node: Apply) -> None:
        """Rebuild a node."""
        if any(self.is_exchanged(v) for v in node.inputs) and not isinstance(node.op, Shape):
            found = after_exchange(node.op, node, self)
            if found is not None:
                new, is_exchanged = found
                new.name = node.outputs[0].name
                (self._by_example if is_exchanged else self._plain)[node.outputs[0]] = new
                return
        length = lengths_after_exchange(node, self)
        if length is not None:
            self._plain[node.outputs[0]] = length
            return
        inputs = [self.plain(v) for v in node.inputs]
        if inputs != node.inputs:
            results = node.clone_with_new_inputs(inputs, strict=False).outputs
            self._plain.update(zip(node.outputs, results, strict=True))

    def open(self, node: Apply) -> None:
        """Rebuild a loop that depends on parameters."""
        try:
            loop = self._new_loop(node)
            results = opened(loop, self._parameters, exchanged_axes)
        except NotOpened as failure:
            self._refuse(node, failure)
            self.add(node)
            return
        for trace in loop.traces:
            self._states[trace.result] = StateValues(trace, results[trace.number])
        for v, values in zip(loop.collected, results[len(loop.states) :], strict=True):
            (self._by_example if v.type.ndim > 1 else self._plain)[v] = values

    def _new_loop(self, node: Apply) -> Loop:
        """Return the parts of a loop over the new variables."""
        inputs = [self.plain(v) for v in node.inputs]
        own = node.op.make_node(*inputs)
        fixed = {self.plain(v) for v in node.inputs if v in self._functions}
        loop = read_loop(own, self._parameters, fixed, self._dtype)
        originals = dict(zip(own.outputs, node.outputs, strict=True))
        traces = tuple(replace(t, result=originals[t.result]) for t in loop.traces)
        collected = tuple(originals[v] for v in loop.collected)
        return replace(loop, traces=traces, collected=collected)

    def _refuse(self, node: Apply, failure: NotOpened) -> None:
        """Raise the error for a loop that reads a parameter and cannot be opened."""
        functions = [v for v in node.inputs if v in self._functions]
        read = [p for p in self._parameters if p in value_roots(functions)]
        if self._required and read:
            raise UnmatchedParameterError(
                f"the uses of parameter {describe(read[0])} within {node.op} cannot be read: "
                f"{failure}. Rewrite the loop, remove the parameter from `params`, or pass "
                "unmatched='gradient' (train it by plain gradient steps) or unmatched='freeze' "
                "(leave it unchanged)."
            )


@dataclass(frozen=True, eq=False)
class StateValues:
    """The values of a state of a loop.

    Attributes
    ----------
    trace : Trace
        The loop's output, with the initial values.
    after : Variable
        The values after each step, of shape (N, T, ...).
    """

    trace: Trace
    after: Variable

    @property
    def depth(self) -> int:
        """The number of initial values."""
        return self.trace.depth

    def all(self) -> Variable:
        """Return the initial values and those after each step."""
        return pt.concatenate([exchanged_axes(self.trace.initial), self.after], axis=1)
