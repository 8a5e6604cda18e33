"""The Op of a loop over time, with the examples on the leading axis of all that varies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pytensor.compile.builders import OpFromGraph
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import toposort
from pytensor.tensor.shape import Shape, Shape_i

from kfgn_graph.layers.dtypes import is_float
from kfgn_graph.layers.examples import Axes, Mixes, common_state, example_axes, unmixed_state
from kfgn_graph.layers.ir import Held, Perturbation
from kfgn_graph.printing import describe


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a loop, over one example or all of them.

    Attributes
    ----------
    slots : tuple
        For each input of the loop the variables of the step that read it: none for the number of
        steps, one for each tap of an initial state.
    by_example : tuple of bool
        For each input of the loop whether its leading axis enumerates the examples.
    states : tuple of Variable
        The variables of the step that hold earlier states.
    outputs : tuple of Variable
        The new states, then the other values that the step returns.
    """

    slots: tuple[tuple[Variable, ...], ...]
    by_example: tuple[bool, ...]
    states: tuple[Variable, ...]
    outputs: tuple[Variable, ...]

    def check_examples(self, varying: Collection[int]) -> None:
        """Raise :class:`Mixes` unless each step keeps the examples apart.

        Parameters
        ----------
        varying : collection of int
            The numbers of the loop's inputs that depend on the layers.
        """
        read = [v for index in varying for v in self.slots[index]]
        axes: dict[Variable, int] = dict.fromkeys([*read, *self.states], 1)
        for node in toposort(self.outputs):
            if isinstance(node.op, Shape | Shape_i) or not any(v in axes for v in node.inputs):
                continue
            found = [v for v in node.outputs if is_float(v)]
            if found and example_axes(node.op, node, axes) != 1:
                raise Mixes(f"a step of a loop sums over the examples, by {node.op}")
            axes.update(dict.fromkeys(found, 1))


class Recurrence(OpFromGraph):
    """A loop (``pytensor.scan``) with the examples on the leading axis.

    The inputs are the number of steps, if that is not constant, sequences of shape (N, T, ...),
    initial states (N, ...) and values that all steps read. The outputs, of shape (N, T, ...),
    collect what the steps return. Within, sequences have the time on the leading axis.

    Parameters
    ----------
    inputs, outputs : list of Variable
        The graph of the loop.
    step : Step
        One step, from which it is proved that the loop keeps the examples apart.
    """

    def __init__(self, inputs: list[Variable], outputs: list[Variable], step: Step) -> None:
        super().__init__(inputs, outputs, inline=True, on_unused_input="ignore")
        self.step = step

    def __str__(self) -> str:
        return "Recurrence"


@example_axes.register(Recurrence)
def example_axes_recurrence(op: Recurrence, node: Apply, axes: Axes) -> int:
    """Return one example axis, if each step keeps the examples apart."""
    varying = [k for k, v in enumerate(node.inputs) if v in axes]
    if unmixed_state(node, axes) != 1:
        raise Mixes("the steps of a loop are one example")
    for k in varying:
        if not op.step.by_example[k]:
            raise Mixes(f"a loop reads {describe(node.inputs[k])}, time before the examples")
    op.step.check_examples(varying)
    return 1


@example_axes.register(Held)
@example_axes.register(Perturbation)
def example_axes_held(op: Held | Perturbation, node: Apply, axes: Axes) -> int:
    """Return the state of the inputs."""
    return common_state(node, axes)
