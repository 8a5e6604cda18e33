"""Proof that a loss is a sum over examples, and how many leading axes enumerate them.

Every variable that varies with the parameters gets its *example axes*: the number of
leading axes that enumerate the examples, or :data:`SUMMED` once the loss has been summed
over them. Each Op either carries the examples along without mixing them, which its rule
must prove, or the loss is not a batch loss. A new Op is taught by::

    @example_axes.register(MyOp)
    def example_axes_MyOp(op, node, axes): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import toposort

from kfgn_graph.errors import NotABatchLossError
from kfgn_graph.layers.traversal import dependents
from kfgn_graph.printing import describe

#: State of a variable that is already a sum over the examples.
SUMMED = 0


#: State of a flattened variable, whose one axis enumerates (example, output) pairs.
FLATTENED = -1


Axes = Mapping[Variable, int]


Rule = Callable[..., int]


class Mixes(Exception):
    """Raised by a rule that cannot prove that its Op keeps the examples apart."""


def count_example_axes(loss: Variable, affine_nodes: Sequence[Apply]) -> dict[Variable, int]:
    """Return the number of example axes of every variable that varies with the layers.

    The largest number of leading axes that no Op mixes is taken: (N, T, d) data whose
    loss treats each of the N T rows alike have two, so that all rows count as examples.

    Raises
    ------
    NotABatchLossError
        If not even the first axis can be shown to enumerate examples that do not mix.
    """
    most = max(node.inputs[0].type.ndim - 1 for node in affine_nodes)
    for n_axes in range(most, 0, -1):
        try:
            return _propagate(loss, affine_nodes, n_axes)
        except Mixes as failure:
            reason = failure
    raise NotABatchLossError(
        f"the loss {describe(loss)} is not shown to be a sum (or mean) over examples along the "
        f"leading axis: {reason}. Curvature is defined per example: remove batch statistics "
        "(such as batch normalisation) from what the parameters feed, keep examples on the "
        "leading axis, or teach a new Op with kfgn_graph.register_example_axes."
    )


def _propagate(loss: Variable, affine_nodes: Sequence[Apply], n_axes: int) -> dict[Variable, int]:
    varying = dependents([loss], [node.outputs[0] for node in affine_nodes])
    axes: dict[Variable, int] = {}
    for node in affine_nodes:
        axes.setdefault(node.inputs[0], min(n_axes, node.inputs[0].type.ndim - 1))
    for node in toposort([loss]):
        outputs = [v for v in node.outputs if v in varying]
        if outputs:
            found = example_axes(node.op, node, axes)
            axes.update(dict.fromkeys(outputs, found))
    if axes[loss] != SUMMED:
        raise Mixes("it is never summed over the examples")
    return axes


def common_state(node: Apply, axes: Axes) -> int:
    """Return the common state of the inputs that vary."""
    states = {axes[v] for v in node.inputs if v in axes}
    if len(states) != 1:
        raise Mixes(
            f"{node.op} combines examples with a sum over examples, in {describe(node.outputs[0])}"
        )
    return states.pop()


def unmixed_state(node: Apply, axes: Axes) -> int:
    """Return that common state, in which examples must still be apart."""
    state = common_state(node, axes)
    if state == SUMMED:
        raise Mixes(
            f"{node.op} is not linear, but reads a sum over examples, in "
            f"{describe(node.outputs[0])}"
        )
    if state == FLATTENED:
        raise Mixes(f"{node.op} reads examples and outputs flattened together")
    return state


@singledispatch
def example_axes(op: Op, node: Apply, axes: Axes) -> int:
    """Return the number of example axes of ``node``'s outputs, or :data:`SUMMED`.

    Parameters
    ----------
    op, node
        The Op, on whose type the rule is chosen, and its Apply node.
    axes
        The states of the varying inputs; an input that is missing does not vary.

    Raises
    ------
    Mixes
        If the Op may mix examples.
    """
    raise Mixes(f"no rule shows that {op} keeps examples apart, in {describe(node.outputs[0])}")


def register_example_axes(
    *op_types: type[Op],
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register how some Op types carry examples along; used as a decorator.

    Parameters
    ----------
    *op_types : type
        The Op classes that the rule covers.

    Returns
    -------
    callable
        A decorator for ``rule(op, node, axes) -> int``; see :func:`example_axes`. The rule
        raises :class:`Mixes` where the Op may mix examples.
    """

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            example_axes.register(op_type, rule)
        return rule

    return register
