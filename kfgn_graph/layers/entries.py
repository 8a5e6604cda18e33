"""The nodes at which parameters, or functions of them, meet values of the examples."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pytensor.gradient import DisconnectedGrad
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import explicit_graph_inputs, graph_inputs, toposort
from pytensor.tensor.basic import Alloc
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.shape import Shape, Shape_i

from kfgn_graph.layers.dtypes import has_axes
from kfgn_graph.layers.ir import Affine
from kfgn_graph.layers.lengths import are_equal
from kfgn_graph.layers.traversal import dependents, value_nodes


@dataclass(frozen=True, eq=False)
class Entry:
    """A node at which a function of parameters alone meets values of the examples.

    Attributes
    ----------
    node : Apply
        The node.
    functions : tuple of Variable
        Its inputs that are functions of parameters, among them one to copy.
    examples : tuple of Variable
        Its other inputs; none if the node repeats a function, such as a class token, for as many
        rows as there are examples.
    """

    node: Apply
    functions: tuple[Variable, ...]
    examples: tuple[Variable, ...]

    @property
    def lead(self) -> int:
        """The number of leading axes along which all the functions are broadcast."""
        if self.repeats:
            return _repeated_axes(self.node)
        if not isinstance(self.node.op, Elemwise):
            return 1
        return min(self._broadcast_axes(f) for f in self.functions)

    @property
    def repeats(self) -> bool:
        """Whether the node repeats a function for each example."""
        return isinstance(self.node.op, Alloc)

    def length(self, axis: int) -> Variable | int | None:
        """Return the length of a leading axis of the examples; None if it is not known here."""
        if self.repeats:
            return self.node.inputs[1 + axis]
        for v in self.examples:
            if v.type.ndim > axis and not v.type.broadcastable[axis]:
                static = v.type.shape[axis]
                return v.shape[axis] if static is None else static
        return None

    def lead_of(self, examples: Variable) -> int:
        """Return the largest number of example axes that an input can have."""
        if isinstance(self.node.op, Elemwise) and self.lead > 0:
            return self.lead
        if isinstance(self.node.op, Affine):
            return self.node.outputs[0].type.ndim - 1
        return max(1, examples.type.ndim - 1)

    def _broadcast_axes(self, function: Variable) -> int:
        for axis in range(function.type.ndim):
            along = [u for u in self.examples if not u.type.broadcastable[axis]]
            if not function.type.broadcastable[axis] or not along:
                return axis
        return function.type.ndim


def entries(
    loss: Variable, parameters: Collection[Variable], trained: Collection[Variable]
) -> list[Entry]:
    """Return the nodes at which parameters, or functions of them, meet values of the examples.

    Parameters
    ----------
    loss : scalar TensorVariable
        The data loss, in the intermediate representation.
    parameters : collection of Variable
        The parameters to copy.
    trained : collection of Variable
        All parameters to train.
    """
    fixed = functions_of_parameters(loss, trained)
    reading = dependents([loss], parameters)
    found = []
    for node in value_nodes([loss]):
        if isinstance(node.op, Shape | Shape_i) or node.outputs[0] in fixed:
            continue
        functions = tuple(dict.fromkeys(v for v in node.inputs if v in fixed and v in reading))
        others = tuple(dict.fromkeys(v for v in node.inputs if v not in fixed))
        if not others:  # data in a shared variable or in a constant
            others = tuple(v for v in node.inputs if v not in functions and has_rows(v))
        if functions and (others or repeats_by_example(node, loss, trained)):
            found.append(Entry(node, functions, others))
    return found


def _repeated_axes(node: Apply) -> int:
    """Return the number of leading axes along which a node repeats its first input."""
    value, added = node.inputs[0].type, node.outputs[0].type.ndim - node.inputs[0].type.ndim
    own = next((k for k, one in enumerate(value.broadcastable) if not one), value.ndim)
    return added + own


def repeats_by_example(node: Apply, loss: Variable, trained: Collection[Variable]) -> bool:
    """Return whether a node repeats a value for each example, such as a learned token."""
    if not isinstance(node.op, Alloc) or node.outputs[0].type.ndim == 0:
        return False
    return any(are_equal(node.inputs[1], v.shape[0]) for v in data_of(loss, trained))


def functions_of_parameters(
    loss: Variable, trained: Collection[Variable], units: Collection[Variable] = ()
) -> set[Variable]:
    """Return the variables that depend on no value of the examples, nor on their number.

    Parameters
    ----------
    loss : scalar TensorVariable
        The data loss, in the intermediate representation.
    trained : collection of Variable
        All parameters to train.
    units : collection of Variable
        The inputs of copies, of which only the number of rows depends on the examples.
    """
    nodes = list(toposort([loss]))
    varying = data_of(loss, trained)
    reading = dependents([loss], trained)
    sizes: set[Variable] = set()
    for node in nodes:
        if node.outputs[0] in units or isinstance(node.op, DisconnectedGrad):
            continue  # a held statistic is the same for all examples
        a = node.inputs[0] if isinstance(node.op, Affine) else None
        if a is not None and a not in {*reading, *units} and not a.type.broadcastable[0]:
            varying.update(node.outputs)  # its input may be data in a shared variable
        if not sizes.isdisjoint(node.inputs) or isinstance(node.op, Shape | Shape_i):
            # an array of as many rows as there are examples, such as a first hidden state
            (varying if isinstance(node.op, Alloc) else sizes).update(node.outputs)
        if node.outputs[0] in reading and repeats_by_example(node, loss, trained):
            varying.update(node.outputs)
        if not isinstance(node.op, Shape | Shape_i) and not varying.isdisjoint(node.inputs):
            varying.update(node.outputs)
    return {v for node in nodes for v in (*node.inputs, *node.outputs)} - varying


def data_of(loss: Variable, trained: Collection[Variable]) -> set[Variable]:
    """Return the batch inputs; if there are none, the arrays that may be data in their place."""
    batch = {v for v in explicit_graph_inputs([loss]) if has_axes(v)}
    arrays = {v for v in graph_inputs([loss]) if has_axes(v) and v.type.ndim > 1}
    return batch or arrays - set(trained)


def has_rows(v: Variable) -> bool:
    """Return whether a variable is an array with more than one row."""
    return has_axes(v) and not v.type.broadcastable[0]
