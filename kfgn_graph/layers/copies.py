"""Parameters that enter anywhere: each example reads a copy of its own.

A scale, a shift, a slope, a temperature or the factors of a normalised weight are no weights of an
affine map a W + b. Each example n can be given a copy theta_n of such a parameter. The copies are
the affine map of a unit input, theta_n = 1 theta, so that they are a layer like any other: Q is 1,
and G, the curvature in the copies summed over the examples, is the parameter's whole block of the
Gauss-Newton matrix. KFLR computes it exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable, clone_get_equiv
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.traversal import explicit_graph_inputs, graph_inputs, toposort
from pytensor.tensor.basic import Alloc
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.shape import Shape, Shape_i
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.type import TensorType
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.dtypes import has_axes, is_float
from kfgn_graph.layers.ir import Affine, affine
from kfgn_graph.layers.traversal import value_roots

LARGEST = 2048
"""The number of entries up to which a parameter's block is kept as one dense matrix."""


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
        Its other inputs.
    """

    node: Apply
    functions: tuple[Variable, ...]
    examples: tuple[Variable, ...]

    @property
    def lead(self) -> int:
        """The number of leading axes along which all the functions are broadcast."""
        if not isinstance(self.node.op, Elemwise):
            return 1
        return min(self._broadcast_axes(f) for f in self.functions)

    def _broadcast_axes(self, function: Variable) -> int:
        for axis in range(function.type.ndim):
            along = [u for u in self.examples if not u.type.broadcastable[axis]]
            if not function.type.broadcastable[axis] or not along:
                return axis
        return function.type.ndim


def entries(loss: Variable, parameters: Collection[Variable]) -> list[Entry]:
    """Return the nodes at which parameters, or functions of them, meet values of the examples.

    Parameters
    ----------
    loss : scalar TensorVariable
        The data loss, in the intermediate representation.
    parameters : collection of Variable
        The parameters to copy.
    """
    fixed = _functions_of_parameters(loss)
    reading = _reading(loss, parameters)
    found = []
    for node in toposort([loss]):
        if isinstance(node.op, Shape | Shape_i) or node.outputs[0] in fixed:
            continue
        functions = tuple(dict.fromkeys(v for v in node.inputs if v in fixed and v in reading))
        others = tuple(dict.fromkeys(v for v in node.inputs if v not in fixed))
        if functions:
            found.append(Entry(node, functions, others))
    return found


def _functions_of_parameters(loss: Variable) -> set[Variable]:
    """Return the variables that depend on no value of the examples."""
    nodes = list(toposort([loss]))
    varying = _data(loss)
    for node in nodes:
        if isinstance(node.op, Affine) or (
            not isinstance(node.op, Shape | Shape_i) and not varying.isdisjoint(node.inputs)
        ):
            varying.update(node.outputs)
    return {v for node in nodes for v in (*node.inputs, *node.outputs)} - varying


def _data(loss: Variable) -> set[Variable]:
    """Return the batch inputs; if there are none, the arrays that may be data in their place."""
    batch = {v for v in explicit_graph_inputs([loss]) if has_axes(v)}
    arrays = {v for v in graph_inputs([loss]) if has_axes(v) and v.type.ndim > 1}
    return batch or {v for v in arrays if not isinstance(v, TensorSharedVariable)}


def _reading(loss: Variable, parameters: Collection[Variable]) -> set[Variable]:
    """Return the real-valued variables that depend on parameters by value."""
    found = set(parameters)
    for node in toposort([loss]):
        if not isinstance(node.op, Shape | Shape_i) and not found.isdisjoint(node.inputs):
            found.update(v for v in node.outputs if is_float(v))
    return found


def copyable(loss: Variable, parameters: Collection[TensorSharedVariable]) -> list[Entry]:
    """Return the entries of the parameters that can be copied: small, and by proven axes."""
    chosen = {p for p in parameters if np.size(p.get_value(borrow=True)) <= LARGEST}
    while True:
        found = entries(loss, chosen)
        refused = {p for entry in found if entry.lead < 1 for p in _roots(entry.functions, chosen)}
        if not refused:
            return found
        chosen -= refused


def _roots(functions: Sequence[Variable], parameters: Collection[Variable]) -> set[Variable]:
    return value_roots(functions) & set(parameters)


def with_copies(
    loss: TensorVariable, parameters: Collection[TensorSharedVariable], most: int | None
) -> tuple[TensorVariable | None, int]:
    """Return a loss in which every example reads its own copy of the parameters.

    Parameters
    ----------
    loss : scalar TensorVariable
        A loss in the intermediate representation. Its graph is not changed.
    parameters : collection of shared variables
        The parameters to copy.
    most : int or None
        The largest number of leading axes that a copy may have; None for any.

    Returns
    -------
    tuple
        The loss, or None if no parameter can be copied so, and the number of leading axes.
    """
    own = clone_get_equiv([], [loss], copy_inputs=False, copy_orphans=False)[loss]
    found = copyable(own, parameters)
    lead = min((entry.lead for entry in found), default=0)
    lead = lead if most is None else min(lead, most)
    if lead < 1:
        return None, lead
    read = {p for entry in found for p in _roots(entry.functions, parameters)}
    sizes = [_length(found[0].examples, axis) for axis in range(lead)]
    copies = {p: _copy(p, sizes) for p in sorted(read, key=list(parameters).index)}
    fgraph = FunctionGraph([*graph_inputs([own])], [own], clone=False)
    for entry in found:
        new = _over_copies(entry.node, entry.functions, copies, lead)
        if new is None:
            return None, lead
        fgraph.replace(entry.node.outputs[0], new, import_missing=True)
    return fgraph.outputs[0], lead


def is_copy(preactivation: Variable) -> bool:
    """Return whether an affine map makes copies of a parameter: whether its input is a unit."""
    a = preactivation.owner.inputs[0]
    return a.owner is not None and isinstance(a.owner.op, Alloc) and a.owner.inputs[0].ndim == 0


def _length(examples: Sequence[Variable], axis: int) -> TensorVariable | int:
    along = next(u for u in examples if not u.type.broadcastable[axis])
    static = along.type.shape[axis]
    return along.shape[axis] if static is None else static


def _copy(parameter: TensorSharedVariable, sizes: Sequence[TensorVariable | int]) -> Variable:
    """Return one copy of a parameter for each example, of shape (*sizes, *parameter.shape)."""
    shape = np.shape(parameter.get_value(borrow=True))
    unit = pt.ones((*sizes, 1), dtype=parameter.type.dtype)
    row = parameter.dimshuffle("x", *range(parameter.type.ndim)).reshape((1, int(np.prod(shape))))
    copies = affine(unit, row)
    copies.name = f"{parameter.name}_copies" if parameter.name else None
    return copies.reshape((*sizes, *shape))


def _over_copies(
    node: Apply, functions: Sequence[Variable], copies: dict[Variable, Variable], lead: int
) -> Variable | None:
    """Return the output of a node that reads copies, or None if its axes cannot be shown."""
    if isinstance(node.op, Elemwise):
        stacked = dict(zip(functions, vectorize_graph(list(functions), copies), strict=True))
        inputs = [_without_axes(stacked[v], lead) if v in stacked else v for v in node.inputs]
        return node.op(*inputs)
    return _one_by_one(node, functions, copies)


def _without_axes(stacked: Variable, lead: int) -> Variable:
    """Drop the axes of a function along which it was broadcast over the examples."""
    kept = (*range(lead), *range(2 * lead, stacked.type.ndim))
    return stacked.dimshuffle(*kept)


def _one_by_one(
    node: Apply, functions: Collection[Variable], copies: dict[Variable, Variable]
) -> Variable | None:
    """Return the output of a node as computed from one example at a time, with its own copy."""
    alone = {
        v: TensorType(v.type.dtype, (1, *v.type.shape[1:]))()
        for v in node.inputs
        if v not in functions and has_axes(v) and not v.type.broadcastable[0]
    }
    if not alone or len(node.outputs) > 1:
        return None
    inputs = [alone.get(v, v) for v in node.inputs]
    if isinstance(node.op, Affine):
        single = node.op.build_inner_graph(*inputs)[0]
    else:
        single = node.op.make_node(*inputs).out
    if single.type.ndim == 0 or single.type.shape[0] != 1:
        return None
    rows = {one: v.dimshuffle(0, "x", *range(1, v.type.ndim)) for v, one in alone.items()}
    return vectorize_graph(single, {**rows, **copies}).dimshuffle(
        0, *range(2, single.type.ndim + 1)
    )
