"""The Op of a loop over time, with the examples on the leading axis of all that varies."""

from __future__ import annotations

from collections.abc import Collection

from pytensor.compile.builders import OpFromGraph
from pytensor.gradient import DisconnectedType, disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.shape import Shape, Shape_i

from kfgn_graph.layers.dtypes import is_float
from kfgn_graph.layers.examples import Axes, Mixes, common_state, example_axes, unmixed_state
from kfgn_graph.layers.ir import Held, Perturbation
from kfgn_graph.layers.time_loops import Step, backwards, forwards, tangents
from kfgn_graph.printing import describe


class Recurrence(OpFromGraph):
    """A loop (``pytensor.scan``) with the examples on the leading axis.

    The inputs are those that :class:`~kfgn_graph.layers.time_loops.Step` names: sequences of
    shape (N, T, ...) or (T,), initial states (N, ...), and values that all steps read. The
    outputs, of shape (N, T, ...), are what the steps return. Parameters have no derivative.

    Parameters
    ----------
    inputs : list of Variable
        Variables of the types of the inputs.
    step : Step
        One step.
    """

    def __init__(self, inputs: list[Variable], step: Step) -> None:
        outputs = forwards(step, inputs)
        super().__init__(inputs, outputs, inline=True, on_unused_input="ignore")
        self.step = step

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Return that the outputs are connected to the differentiable inputs."""
        connected = self.step.differentiable
        return [[k in connected] * len(node.outputs) for k in range(len(node.inputs))]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Variable]:
        """Return the gradients in the differentiable inputs, by one reverse loop."""
        given = [k for k, g in enumerate(output_grads) if not _is_disconnected(g)]
        op = ReverseLoop(self, given)
        found = op(*inputs, *outputs, *(output_grads[k] for k in given), return_list=True)
        by_input = dict(zip(self.step.differentiable, found, strict=True))
        return [by_input.get(k, disconnected_type()) for k in range(len(inputs))]

    def __str__(self) -> str:
        return "Recurrence"


class ReverseLoop(OpFromGraph):
    """J^T c of a recurrence, a linear map of the cotangents c with derivative J v in them.

    Parameters
    ----------
    forward : Recurrence
        The recurrence.
    given : list of int
        The numbers of its outputs for which there are cotangents.
    """

    def __init__(self, forward: Recurrence, given: list[int]) -> None:
        inputs = [kind() for kind in forward.input_types]
        outputs = [kind() for kind in forward.output_types]
        given_here = [outputs[k].type() for k in given]
        cotangents = dict(zip(given, given_here, strict=True))
        found = backwards(
            forward.step, inputs, outputs, [cotangents.get(k) for k in range(len(outputs))]
        )
        everything = [*inputs, *outputs, *given_here]
        super().__init__(everything, found, inline=True, on_unused_input="ignore")
        self._step, self._given, self._counts = forward.step, given, (len(inputs), len(outputs))

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Return that every output is connected to every input."""
        return [[True] * len(node.outputs) for _ in node.inputs]

    def pullback(
        self, inputs: list[Variable], outputs: list[Variable], output_grads: list[Variable]
    ) -> list[Variable]:
        """Return J v in the cotangents; there is no rule for the second derivative."""
        n_inputs, n_outputs = self._counts
        read, values = inputs[:n_inputs], inputs[n_inputs : n_inputs + n_outputs]
        numbers = self._step.differentiable
        pairs = zip(numbers, output_grads, strict=True)
        directions = {k: g for k, g in pairs if not _is_disconnected(g)}
        pushed = tangents(self._step, read, values, directions)
        first = [grad_not_implemented(self, k, v) for k, v in enumerate((*read, *values))]
        return [*first, *(pushed[k] for k in self._given)]

    def __str__(self) -> str:
        return "ReverseLoop"


def _is_disconnected(g: Variable) -> bool:
    return isinstance(g.type, DisconnectedType)


@example_axes.register(Recurrence)
def example_axes_recurrence(op: Recurrence, node: Apply, axes: Axes) -> int:
    """Return one example axis, if each step keeps the examples apart."""
    varying = [k for k, v in enumerate(node.inputs) if v in axes]
    if unmixed_state(node, axes) != 1:
        raise Mixes("the steps of a loop are one example")
    for k in varying:
        if node.inputs[k].type.ndim < 1 + (op.step.kinds[k] == "sequence"):
            raise Mixes(f"a loop reads {describe(node.inputs[k])}, which has no example axis")
    check_examples(op.step, varying)
    return 1


def check_examples(step: Step, varying: Collection[int]) -> None:
    """Raise :class:`Mixes` unless a step keeps the examples apart.

    Parameters
    ----------
    step : Step
        The step.
    varying : collection of int
        The numbers of the recurrence's inputs that depend on the layers.
    """
    read = [step.reads[k] for k in (*varying, *step.numbers("initial"))]
    axes: dict[Variable, int] = dict.fromkeys(read, 1)
    for node in toposort(step.outputs):
        if isinstance(node.op, Shape | Shape_i) or not any(v in axes for v in node.inputs):
            continue
        found = [v for v in node.outputs if is_float(v)]
        if found and example_axes(node.op, node, axes) != 1:
            raise Mixes(f"a step of a loop sums over the examples, by {node.op}")
        axes.update(dict.fromkeys(found, 1))


@example_axes.register(Held)
@example_axes.register(Perturbation)
def example_axes_held(op: Held | Perturbation, node: Apply, axes: Axes) -> int:
    """Return the state of the inputs."""
    return common_state(node, axes)
