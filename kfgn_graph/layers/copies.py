"""Parameters that enter anywhere: each example reads a copy of its own.

A scale, a shift, a slope, a temperature or the factors of a normalised weight are no weights of an
affine map a W + b. Each example n can be given a copy theta_n of such a parameter. The copies are
the affine map of a unit input, theta_n = 1 theta, so that they are a layer like any other: Q is 1,
and G, the curvature in the copies summed over the examples, is the parameter's whole block of the
Gauss-Newton matrix. KFLR computes it exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable, clone_get_equiv
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.tensor.basic import Alloc
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.shape import Shape, Shape_i
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.type import TensorType
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.entries import Entry, entries, functions_of_parameters, has_rows
from kfgn_graph.layers.ir import Affine, Lookup, affine
from kfgn_graph.layers.rows import ONE_ROW_EACH, keeps_rows
from kfgn_graph.layers.statistics import held_within
from kfgn_graph.layers.traversal import value_roots
from kfgn_graph.printing import describe
from kfgn_graph.shared_values import value_shape

LARGEST = 2048
"""The number of entries up to which a parameter's block is kept as one dense matrix."""


class NotCopied(Exception):
    """The error for parameters that cannot be copied, with the reason."""

    def __init__(self, parameters: Collection[Variable], why: str) -> None:
        super().__init__(why)
        self.parameters = frozenset(parameters)

    def __contains__(self, parameter: Variable) -> bool:
        return parameter in self.parameters


def _checked_entries(
    loss: Variable,
    parameters: Collection[TensorSharedVariable],
    trained: Collection[Variable],
) -> list[Entry]:
    """Return the entries of parameters; raise :class:`NotCopied` for one that cannot be copied."""
    found = entries(loss, parameters, trained)
    for entry in found:
        if entry.lead < 1:
            raise NotCopied(
                _roots(entry.functions, parameters),
                f"{entry.node.op} in {describe(entry.node.outputs[0])} reads it where there is no "
                "example axis",
            )
    read = _roots([f for entry in found for f in entry.functions], parameters)
    for p in parameters:
        if p not in read:
            raise NotCopied([p], "no value of an example meets it")
    return found


def too_large(parameter: TensorSharedVariable) -> str:
    """Return that a parameter has too many entries for a dense block."""
    size = int(np.prod(value_shape(parameter)))
    return f"it has {size:,} entries, and a dense block at most {LARGEST:,}"


def _roots(functions: Sequence[Variable], parameters: Collection[Variable]) -> set[Variable]:
    return value_roots(functions) & set(parameters)


def most_axes(
    loss: Variable,
    parameters: Collection[TensorSharedVariable],
    trained: Collection[Variable],
) -> int:
    """Return the largest number of leading axes that copies of the parameters can have.

    Raises
    ------
    NotCopied
        If one of them cannot be copied.
    """
    return min(entry.lead for entry in _checked_entries(loss, parameters, trained))


def with_copies(
    loss: TensorVariable,
    parameters: Collection[TensorSharedVariable],
    trained: Collection[TensorSharedVariable],
    lead: int,
) -> TensorVariable:
    """Return a loss in which every example reads its own copy of the parameters.

    Parameters
    ----------
    loss : scalar TensorVariable
        A loss in the intermediate representation. Its graph is not changed.
    parameters, trained : collection of shared variables
        The parameters to copy, and all parameters to train.
    lead : int
        The number of leading axes of a copy, at most :func:`most_axes`.

    Raises
    ------
    NotCopied
        If a parameter cannot be copied.
    """
    own = clone_get_equiv([], [loss], copy_inputs=False, copy_orphans=False)[loss]
    found = _checked_entries(own, parameters, trained)
    sizes = [length_along(found, axis) for axis in range(lead)]
    copies = {p: copy_of(p, sizes) for p in parameters}
    fgraph = FunctionGraph([*graph_inputs([own])], [own], clone=False)
    for entry in found:
        new = over_copies(entry.node, entry.functions, copies | _kept(entry.functions), lead)
        if new is None:
            raise NotCopied(
                _roots(entry.functions, parameters),
                f"{entry.node.op} in {describe(entry.node.outputs[0])} cannot be computed from "
                "one example at a time",
            )
        fgraph.replace(entry.node.outputs[0], new, import_missing=True)
    return fgraph.outputs[0]


def with_plain_products(loss: TensorVariable, trained: Collection[Variable]) -> TensorVariable:
    """Return a loss in which a product of parameters alone, such as A B, is no affine map.

    Parameters
    ----------
    loss : scalar TensorVariable
        A loss in the intermediate representation; its graph is changed in place.
    trained : collection of shared variables
        The parameters to train.
    """
    fixed = functions_of_parameters(loss, trained)
    products = [n for n in toposort([loss]) if isinstance(n.op, Affine) and n.outputs[0] in fixed]
    fgraph = FunctionGraph([*graph_inputs([loss])], [loss], clone=False)
    for node in products:
        plain = node.op.build_inner_graph(*node.inputs)[0]
        fgraph.replace(node.outputs[0], plain, import_missing=True)
    return fgraph.outputs[0]


def is_copy(preactivation: Variable) -> bool:
    """Return whether an affine map makes copies of a parameter: whether its input is a unit."""
    a = preactivation.owner.inputs[0]
    if isinstance(preactivation.owner.op, Lookup) or a.owner is None:
        return False
    if not isinstance(a.owner.op, Alloc) or a.type.shape[-1] != 1:
        return False
    value = a.owner.inputs[0]
    return isinstance(value, Constant) and value.type.ndim == 0 and bool(value.data == 1)


def _kept(functions: Sequence[Variable]) -> dict[Variable, Variable]:
    """Return the held statistics and the sizes that functions read: all copies share them."""
    sizes = [n for n in toposort(functions) if isinstance(n.op, Shape | Shape_i)]
    kept = [*held_within(functions), *(n.outputs[0] for n in sizes)]
    return dict(zip(kept, kept, strict=True))


def length_along(found: Sequence[Entry], axis: int) -> TensorVariable | int:
    """Return the length of a leading axis of the examples that entries meet."""
    return next(n for entry in found if (n := entry.length(axis)) is not None)


def copy_of(parameter: TensorSharedVariable, sizes: Sequence[TensorVariable | int]) -> Variable:
    """Return one copy of a parameter for each example, of shape (*sizes, *parameter.shape)."""
    shape = value_shape(parameter)
    unit = pt.ones((*sizes, 1), dtype=parameter.type.dtype)
    row = parameter.dimshuffle("x", *range(parameter.type.ndim)).reshape((1, int(np.prod(shape))))
    copies = affine(unit, row)
    copies.name = f"{parameter.name}_copies" if parameter.name else None
    if len(shape) == 1:
        return copies
    lead = range(len(sizes))
    if not shape:
        return copies.dimshuffle(*lead)
    return copies.reshape((*(copies.shape[k] for k in lead), *shape))


def over_copies(
    node: Apply, functions: Sequence[Variable], copies: dict[Variable, Variable], lead: int
) -> Variable | None:
    """Return the output of a node that reads copies, or None if its axes cannot be shown."""
    if isinstance(node.op, Alloc):
        (stacked_value,) = vectorize_graph(list(functions), copies)
        return _repeated(node, stacked_value, lead)
    if isinstance(node.op, Elemwise):
        stacked = dict(zip(functions, vectorize_graph(list(functions), copies), strict=True))
        inputs = [_without_axes(stacked[v], lead) if v in stacked else v for v in node.inputs]
        return node.op(*inputs)
    return _one_by_one(node, functions, copies)


def _repeated(node: Apply, stacked: Variable, lead: int) -> Variable:
    """Return the output of a node that repeats a value, from a copy of it for each example."""
    ndim = node.inputs[0].type.ndim
    added = node.outputs[0].type.ndim - ndim
    own = [lead + k for k in range(ndim) if added + k >= lead]
    order = [*range(lead), *["x"] * max(0, added - lead), *own]
    return node.op(stacked.dimshuffle(*order), *node.inputs[1:])


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
        if v not in functions and has_rows(v)
    }
    dense = all(type(v.type) is TensorType for v in node.inputs)
    if not alone or not dense or len(node.outputs) > 1:
        return None
    if not keeps_rows(node, dict.fromkeys(alone, ONE_ROW_EACH)):
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
