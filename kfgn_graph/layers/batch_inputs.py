"""The inputs of a loss that are no batch: their leading axis does not enumerate examples."""

from __future__ import annotations

from collections.abc import Sequence

from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import toposort
from pytensor.scalar import Cast
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.math import Dot
from pytensor.tensor.shape import Shape, Shape_i, SpecifyShape
from pytensor.tensor.subtensor import AdvancedSubtensor, Subtensor, indices_from_subtensor

from kfgn_graph.layers.dtypes import has_axes
from kfgn_graph.layers.recurrence import Recurrence
from kfgn_graph.layers.traversal import clients_of, value_roots

Client = tuple[Apply, int]


def inputs_without_examples(
    outputs: Sequence[Variable], inputs: Sequence[Variable]
) -> set[Variable]:
    """Return the inputs with axes, such as class weights, that hold nothing of single examples.

    Every use of such an input is one of these: an index of the batch looks up its entries,
    ``w[y]``; it is broadcast along the examples, ``w * z`` for an axis of z that is not the first;
    it is the right factor of a product, ``x @ A``; or its shape alone is read.

    Parameters
    ----------
    outputs : sequence of Variable
        The loss, and the variables that it is computed from.
    inputs : sequence of Variable
        The inputs.
    """
    clients = clients_of(toposort(outputs))
    return {
        v
        for v in inputs
        if has_axes(v) and clients.get(v) and _without_examples(v, clients, set(inputs))
    }


def inputs_with_time_first(
    outputs: Sequence[Variable], inputs: Sequence[Variable]
) -> set[Variable]:
    """Return the inputs of shape (T, N, ...) of a loop, with the examples on the second axis.

    Every use of such an input exchanges the two axes, or sums over the first, or reads its shape.

    Parameters
    ----------
    outputs : sequence of Variable
        The loss, in the intermediate representation.
    inputs : sequence of Variable
        The inputs.
    """
    nodes_of_loss = list(toposort(outputs))
    if not any(isinstance(node.op, Recurrence) for node in nodes_of_loss):
        return set()
    clients = clients_of(nodes_of_loss)
    found = {v: [node for node, _ in clients.get(v, [])] for v in inputs if has_axes(v)}
    return {
        v
        for v, nodes in found.items()
        if any(_exchanges(n) for n in nodes)
        and all(_exchanges(n) or _sums_time(n) or _for_lengths(n, clients) for n in nodes)
    }


def _exchanges(node: Apply) -> bool:
    return isinstance(node.op, DimShuffle) and node.op.new_order[:2] == (1, 0)


def _for_lengths(node: Apply, clients: dict[Variable, list[Client]]) -> bool:
    """Return whether a node is a shape, or a slice that only shapes read."""
    if isinstance(node.op, Shape | Shape_i):
        return True
    readers = [client for client, _ in clients.get(node.outputs[0], [])]
    return isinstance(node.op, Subtensor) and all(_for_lengths(n, clients) for n in readers)


def _sums_time(node: Apply) -> bool:
    return isinstance(node.op, CAReduce) and node.op.axis == (0,)


def _without_examples(
    v: Variable, clients: dict[Variable, list[Client]], inputs: set[Variable]
) -> bool:
    """Return whether no client of v, or of a view of it, can read a row for each example."""
    return all(_is_for_all(node, k, clients, inputs) for node, k in clients.get(v, []))


def _repeats_rows(node: Apply) -> bool:
    """Return whether a node is elementwise and has an axis of examples that is not of length 1."""
    return isinstance(node.op, Elemwise) and not node.outputs[0].type.broadcastable[0]


def _is_for_all(
    node: Apply, k: int, clients: dict[Variable, list[Client]], inputs: set[Variable]
) -> bool:
    """Return whether the k-th input of a node is read alike for all examples."""
    op, v = node.op, node.inputs[k]
    if isinstance(op, Shape | Shape_i):
        return True
    if isinstance(op, AdvancedSubtensor) and k == 0:
        first, *_ = indices_from_subtensor(node.inputs[1:], op.idx_list)
        is_label = isinstance(first, Variable) and first.type.dtype != "bool"
        return is_label and not value_roots([first]).isdisjoint(inputs - {v})
    if isinstance(op, DimShuffle) and op.new_order[:1] == ("x",):
        found = clients.get(node.outputs[0], [])
        return bool(found) and all(_repeats_rows(client) for client, _ in found)
    if isinstance(op.core_op if isinstance(op, Blockwise) else op, Dot):
        return k == 1 and v.type.ndim == 2 and node.inputs[0] is not v
    is_cast = isinstance(op, Elemwise) and isinstance(op.scalar_op, Cast)
    if is_cast or isinstance(op, SpecifyShape):
        return _without_examples(node.outputs[0], clients, inputs)
    return False
