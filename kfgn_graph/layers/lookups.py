"""Lookups: rows of a large table, such as an embedding, that an index selects.

A row ``W[index]`` is the affine map of a one-hot row. It becomes a :class:`Lookup`, a layer of
which Q is diagonal. A table that is added to every example, such as a positional embedding, is the
lookup of all of its rows by every example. Tables of few entries are left to
:mod:`kfgn_graph.layers.copies`, which keeps their whole block.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.traversal import explicit_graph_inputs, graph_inputs, toposort
from pytensor.tensor.basic import ARange
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.subtensor import AdvancedSubtensor, Subtensor, indices_from_subtensor
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.copies import LARGEST, length_along
from kfgn_graph.layers.dtypes import has_axes
from kfgn_graph.layers.entries import Entry, entries
from kfgn_graph.layers.ir import lookup
from kfgn_graph.layers.patterns import replaced
from kfgn_graph.layers.traversal import value_roots
from kfgn_graph.layers.views import underlying_parameter
from kfgn_graph.shared_values import value_shape


def is_large(parameter: TensorSharedVariable) -> bool:
    """Return whether a parameter has more entries than a dense block is kept for."""
    return int(np.prod(value_shape(parameter))) > LARGEST


def with_lookups(
    loss: TensorVariable, trained: Collection[TensorSharedVariable]
) -> TensorVariable:
    """Return a loss in which the lookups in large tables are layers.

    Parameters
    ----------
    loss : scalar TensorVariable
        A loss in the intermediate representation; its graph is changed in place.
    trained : collection of shared variables
        The parameters to train.
    """
    large = [p for p in trained if is_large(p)]
    if not large:
        return loss
    batch = {v for v in explicit_graph_inputs([loss]) if has_axes(v)}
    fgraph = FunctionGraph([*graph_inputs([loss])], [loss], clone=False)
    for node in toposort([loss]):
        table = node.inputs[0] if isinstance(node.op, AdvancedSubtensor) else None
        if table is None or underlying_parameter(table, large) is None:
            continue
        index = _index_of_rows(node)
        if index is not None and _differs_by_example(index, batch, trained):
            (new,) = replaced(node, _looked_up(table, index))
            fgraph.replace(node.outputs[0], new, import_missing=True)
    added = [p for p in large if _is_added_only(p, fgraph)]
    for entry in entries(fgraph.outputs[0], added, trained) if added else ():
        new = _added_to_every_example(entry, added)
        if new is not None:
            fgraph.replace(entry.node.outputs[0], new, import_missing=True)
    return fgraph.outputs[0]


def _index_of_rows(node: Apply) -> TensorVariable | None:
    """Return the index of a node that selects whole rows of a table; None for another node."""
    first, *rest = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    if isinstance(first, slice) or any(index != slice(None) for index in rest):
        return None
    index = pt.as_tensor_variable(first)
    return index if index.type.ndim > 0 and "int" in index.type.dtype else None


def _differs_by_example(
    index: Variable, batch: Collection[Variable], trained: Collection[Variable]
) -> bool:
    """Return whether an index selects rows for each example.

    It does if it reads a batch input. In a loss without batch inputs the data are constants or
    shared variables, among which a range of positions is none.
    """
    roots = value_roots([index])
    if not roots.isdisjoint(trained):
        return False
    return not roots.isdisjoint(batch) if batch else not _is_range(index)


def _is_range(index: Variable) -> bool:
    """Return whether an index is 0, 1, 2 and so on."""
    if isinstance(index, Constant):
        return np.array_equal(np.ravel(index.data), np.arange(index.data.size))
    while index.owner is not None and isinstance(index.owner.op, DimShuffle):
        index = index.owner.inputs[0]
    return index.owner is not None and isinstance(index.owner.op, ARange)


def _looked_up(table: TensorVariable, index: TensorVariable) -> TensorVariable:
    """Return the rows of a table of any number of axes, (V, ...), by a :class:`Lookup`."""
    ndim = table.type.ndim
    if ndim == 1:
        return lookup(index, table.dimshuffle(0, "x")).dimshuffle(*range(index.type.ndim))
    if ndim == 2:
        return lookup(index, table)
    rows = lookup(index, pt.join_dims(table, 1, ndim - 1))
    lead = [rows.shape[k] for k in range(index.type.ndim)]
    return rows.reshape(
        (*lead, *(table.shape[k] for k in range(1, ndim))), ndim=len(lead) + ndim - 1
    )


def _is_added_only(parameter: TensorSharedVariable, fgraph: FunctionGraph) -> bool:
    """Return whether the only client of a matrix is one that selects rows, or an addition."""
    clients = fgraph.clients.get(parameter, [])
    return parameter.type.ndim == 2 and len(clients) == 1


def _added_to_every_example(
    entry: Entry, added: Collection[TensorSharedVariable]
) -> TensorVariable | None:
    """Return an elementwise node whose table is looked up by every example; None for another.

    The table, (T, d) or (1, ..., 1, T, d), is broadcast over the leading axes of the examples.
    """
    node = entry.node
    if not isinstance(node.op, Elemwise) or len(entry.functions) != 1:
        return None
    (function,) = entry.functions
    lead = function.type.ndim - 2
    selected = _selected_rows(function, lead, added)
    if selected is None or entry.lead < lead or lead < 1:
        return None
    table, rows = selected
    sizes = [length_along([entry], axis) for axis in range(lead)]
    index = pt.alloc(rows, *sizes, rows.shape[0])
    looked_up = lookup(index, table)
    return node.op(*(looked_up if v is function else v for v in node.inputs))


def _selected_rows(
    function: Variable, lead: int, added: Collection[TensorSharedVariable]
) -> tuple[TensorVariable, TensorVariable] | None:
    """Return a table and the index of the rows of it that a function broadcasts, or None."""
    node, order = function.owner, (*["x"] * lead, 0, 1)
    if node is None or not isinstance(node.op, DimShuffle) or node.op.new_order != order:
        return None
    table = node.inputs[0]
    if table in added:
        return table, pt.arange(value_shape(table)[0])
    node = table.owner
    if node is None or node.inputs[0] not in added:
        return None
    table = node.inputs[0]
    if isinstance(node.op, AdvancedSubtensor):
        index = _index_of_rows(node)
        return None if index is None or index.type.ndim != 1 else (table, index)
    if not isinstance(node.op, Subtensor):
        return None
    first, *rest = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    if not isinstance(first, slice) or any(index != slice(None) for index in rest):
        return None
    return table, pt.arange(value_shape(table)[0])[first]


def one_hot(index: TensorVariable, matrix: TensorVariable) -> TensorVariable:
    """Return the one-hot rows of an index into the rows of a matrix, (..., d_in).

    The result serves those who read the input of a lookup; no update computes it.
    """
    count = matrix.shape[0]
    hot = pt.eq((index.astype("int64") % count)[..., None], pt.arange(count))
    return hot.astype(matrix.type.dtype)
