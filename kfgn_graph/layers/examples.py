"""Proof that a loss is a sum over examples, and the number of axes that enumerate them.

Each variable that depends on the layers has a state: the number of its *example axes*, the
leading axes that enumerate the examples; or :data:`SUMMED`, after a sum over the examples; or
:data:`FLATTENED`. The rule of an Op derives the state of the outputs from the states of the
inputs. It raises :class:`Mixes` unless it can prove that the Op keeps the examples apart. The
rule of a new Op is registered by::

    @register_example_axes(MyOp)
    def example_axes_MyOp(op, node, axes): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch

from pytensor.gradient import DisconnectedGrad
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import toposort
from pytensor.scalar.basic import ScalarOp

from kfgn_graph.errors import NotABatchLossError, SpecError
from kfgn_graph.layers.entries import Entry
from kfgn_graph.layers.traversal import dependents
from kfgn_graph.printing import describe

#: State of a sum over the examples.
SUMMED = 0


#: State of a vector in which the example axes and the others are flattened into one.
FLATTENED = -1


Axes = Mapping[Variable, int]


Rule = Callable[..., int]


#: Linear Ops of libraries that act on each entry of the first axis by itself.
ROW_BY_ROW = {("pytensor_ml.layers.conv", name) for name in ("Im2Col", "Col2Im")}


def acts_row_by_row(op: Op) -> bool:
    """Return whether a library's linear Op acts on each entry of the first axis by itself."""
    return (type(op).__module__, type(op).__name__) in ROW_BY_ROW


class Mixes(Exception):
    """The error of a rule that cannot prove that its Op keeps the examples apart."""


def count_example_axes(
    loss: Variable, affine_nodes: Sequence[Apply], met: Sequence[Entry] = ()
) -> dict[Variable, int]:
    """Return the number of example axes of every variable that depends on the layers.

    The result has the largest number of leading axes that no Op mixes. For inputs of shape
    (N, T, d) and a loss that treats all N T rows alike it is two: each row is an example.

    Parameters
    ----------
    loss
        The scalar data loss, in the intermediate representation.
    affine_nodes
        The nodes of the layers.
    met
        The other nodes at which parameters meet values of the examples.

    Raises
    ------
    NotABatchLossError
        If not even the first axis can be shown to enumerate examples.
    """
    nodes = [*affine_nodes, *(entry.node for entry in met)]
    most = max(1, *(node.outputs[0].type.ndim - 1 for node in nodes))
    for n_axes in range(most, 0, -1):
        try:
            return _propagate(loss, affine_nodes, met, n_axes)
        except Mixes as failure:
            reason = failure
    raise NotABatchLossError(
        f"the loss {describe(loss)} cannot be shown to be a sum (or mean) over examples along "
        f"the leading axis: {reason}. Curvature is defined per example: keep examples on the "
        "leading axis; for batch normalisation pass batch_statistics='hold', which holds the "
        "statistics of the batch constant in the curvature; remove other terms that combine "
        "examples; or register a rule for the Op with kfgn_graph.register_example_axes."
    )


def _propagate(
    loss: Variable, affine_nodes: Sequence[Apply], met: Sequence[Entry], n_axes: int
) -> dict[Variable, int]:
    """Apply the rules in forward order, given inputs of the layers with ``n_axes`` axes."""
    sources = [*affine_nodes, *(entry.node for entry in met)]
    varying = dependents([loss], [node.outputs[0] for node in sources])
    repeated = {e.node.outputs[0]: min(n_axes, e.lead) for e in met if e.repeats}
    axes: dict[Variable, int] = dict(repeated)
    for node in affine_nodes:
        axes.setdefault(node.inputs[0], min(n_axes, node.outputs[0].type.ndim - 1))
    for entry in met:
        for v in entry.examples:
            if v not in varying and v.type.ndim > 0:
                axes.setdefault(v, min(n_axes, entry.lead_of(v)))
    for node in _outside_statistics(loss):
        outputs = [v for v in node.outputs if v in varying and v not in repeated]
        if outputs:
            found = example_axes(node.op, node, axes)
            axes.update(dict.fromkeys(outputs, found))
    if axes[loss] != SUMMED:
        raise Mixes("it is not summed over the examples")
    return axes


def _outside_statistics(loss: Variable) -> list[Apply]:
    """Return the nodes, in forward order, except those that only a held statistic reads."""
    held = [n for n in toposort([loss]) if isinstance(n.op, DisconnectedGrad)]
    return list(toposort([loss], blockers=[n.outputs[0] for n in held]))


def common_state(node: Apply, axes: Axes) -> int:
    """Return the state that all varying inputs share, or raise :class:`Mixes`."""
    states = {axes[v] for v in node.inputs if v in axes}
    if len(states) != 1:
        raise Mixes(
            f"{node.op} combines the values of each example with a sum (or mean) over all "
            f"examples, in {describe(node.outputs[0])}"
        )
    return states.pop()


def unmixed_state(node: Apply, axes: Axes) -> int:
    """Return the number of example axes that all varying inputs share, or raise :class:`Mixes`."""
    state = common_state(node, axes)
    if state == SUMMED:
        raise Mixes(
            f"{node.op} is nonlinear but reads a sum over examples, in {describe(node.outputs[0])}"
        )
    if state == FLATTENED:
        raise Mixes(f"{node.op} reads examples and features flattened into one axis")
    return state


@singledispatch
def example_axes(op: Op, node: Apply, axes: Axes) -> int:
    """Return the state of ``node``'s outputs.

    Parameters
    ----------
    op : Op
        The Op of ``node``. Its type selects the rule.
    node : Apply
        The node.
    axes : mapping
        The state of each input that depends on the layers. Other inputs are missing.

    Returns
    -------
    int
        The number of example axes, :data:`SUMMED` or :data:`FLATTENED`.

    Raises
    ------
    Mixes
        If the Op may mix examples.
    """
    if acts_row_by_row(op) and unmixed_state(node, axes) == 1:
        return 1
    raise Mixes(f"no rule shows that {op} keeps examples apart, in {describe(node.outputs[0])}")


def check_op_types(op_types: Sequence[object]) -> None:
    """Raise :class:`SpecError` unless rules can be registered for ``op_types``."""
    for op_type in op_types:
        if not (isinstance(op_type, type) and issubclass(op_type, Op | ScalarOp)):
            raise SpecError(f"rules are registered for types of Ops, not for {op_type!r}.")


def register_example_axes(
    *op_types: type[Op],
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register the example-axis rule of Op types; used as a decorator.

    Parameters
    ----------
    *op_types : type
        The Op classes that the rule covers.

    Returns
    -------
    callable
        A decorator for ``rule(op, node, axes) -> int``; see :func:`example_axes`. The rule
        raises :class:`Mixes` if the Op may mix examples.

    Raises
    ------
    SpecError
        If one of them is no type of Op.
    """
    check_op_types(op_types)

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            example_axes.register(op_type, rule)
        return rule

    return register
