"""Statistics of the batch, as of batch normalisation, held constant in the curvature.

A mean or variance over the batch makes every output a function of every example, so that the
Gauss-Newton matrix is no sum over examples. With the statistics held constant it is one: each
example meets the same normalisation, as a network in use does. The loss and its gradient stay
those of the user, who differentiates through the statistics.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytensor.gradient import DisconnectedGrad, disconnected_grad
from pytensor.graph.basic import Apply, Variable, clone_get_equiv
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.tensor.elemwise import CAReduce, DimShuffle
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, Shape, Shape_i
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import NotABatchLossError, SpecError
from kfgn_graph.layers.dtypes import is_float
from kfgn_graph.layers.entries import data_of
from kfgn_graph.layers.traversal import dependents
from kfgn_graph.printing import describe

STATISTICS_TREATMENTS = ("error", "hold")
RESHAPES = (Reshape, JoinDims, SplitDims)


def check_treatment(batch_statistics: str) -> None:
    """Raise :class:`SpecError` for an unknown treatment of batch statistics."""
    if batch_statistics not in STATISTICS_TREATMENTS:
        raise SpecError(
            f"batch_statistics={batch_statistics!r} is not one of {STATISTICS_TREATMENTS}."
        )


def batch_statistics_of(loss: Variable, trained: Collection[Variable]) -> list[Variable]:
    """Return the reductions over the batch that are combined with values of the examples.

    The sum or mean of the loss itself is none: no value of an example meets it.

    Parameters
    ----------
    loss : Variable
        The loss, in the intermediate representation.
    trained : collection of Variable
        The parameters to train.
    """
    place: dict[Variable, int] = dict.fromkeys(data_of(loss, trained), 0)
    reduced: dict[Variable, set[Variable]] = {}
    found: dict[Variable, None] = {}
    for node in toposort([loss]):
        if isinstance(node.op, Shape | Shape_i):
            continue
        places = [place[v] for v in node.inputs if v in place]
        origins = set().union(*(reduced.get(v, ()) for v in node.inputs))
        if not places:
            if origins:
                reduced.update(dict.fromkeys(node.outputs, origins))
            continue
        found.update(dict.fromkeys(v for v in origins if is_float(v)))
        if _reduces_over(node, places[0]):
            reduced[node.outputs[0]] = {node.outputs[0]}
            continue
        after = _place_after(node, places[0])
        if after is not None:
            place.update(dict.fromkeys(node.outputs, after))
    return list(found)


def _reduces_over(node: Apply, axis: int) -> bool:
    if not isinstance(node.op, CAReduce):
        return False
    return node.op.axis is None or axis in node.op.axis


def _place_after(node: Apply, axis: int) -> int | None:
    """Return the batch axis of a node's output, given that of its input; None if it is lost."""
    op = node.op
    if isinstance(op, CAReduce):
        return axis - sum(k < axis for k in op.axis)
    if isinstance(op, DimShuffle):
        return op.new_order.index(axis) if axis in op.new_order else None
    if isinstance(op, RESHAPES) and axis > 0:
        return None
    return axis


def with_held_statistics(loss: TensorVariable, trained: Collection[Variable]) -> TensorVariable:
    """Return a loss through whose batch statistics no derivative flows.

    Parameters
    ----------
    loss : scalar TensorVariable
        A loss in the intermediate representation. Its graph is changed in place.
    trained : collection of Variable
        The parameters to train.
    """
    fgraph = FunctionGraph([*graph_inputs([loss])], [loss], clone=False)
    for statistic in batch_statistics_of(loss, trained):
        clients = list(fgraph.clients[statistic])
        held = disconnected_grad(statistic)
        held.name = statistic.name
        for node, index in clients:
            fgraph.change_node_input(node, index, held, import_missing=True)
    return fgraph.outputs[0]


def refuse_statistics(loss: Variable, trained: Collection[Variable]) -> None:
    """Raise :class:`NotABatchLossError` if the network normalises by statistics of the batch."""
    moving = dependents([loss], trained)
    found = [v for v in batch_statistics_of(loss, trained) if v in moving]
    if found:
        raise NotABatchLossError(
            "the network combines each example with a statistic of the batch, "
            f"{describe(found[0])}, "
            "as batch normalisation does, so that the loss is no sum over examples. Pass "
            "batch_statistics='hold': the curvature then holds the statistics constant, and the "
            "gradient differentiates through them. Or normalise over the features of each example."
        )


def held_within(outputs: Sequence[Variable]) -> list[Variable]:
    """Return the statistics that ``outputs`` read and hold constant, in forward order."""
    return [n.outputs[0] for n in toposort(outputs) if isinstance(n.op, DisconnectedGrad)]


def differentiated(loss: TensorVariable) -> TensorVariable:
    """Return a copy of a loss whose gradient flows through the statistics that were held."""
    own = clone_get_equiv([], [loss], copy_inputs=False, copy_orphans=False)[loss]
    fgraph = FunctionGraph([*graph_inputs([own])], [own], clone=False)
    for node in [n for n in fgraph.toposort() if isinstance(n.op, DisconnectedGrad)]:
        fgraph.replace(node.outputs[0], node.inputs[0])
    return fgraph.outputs[0]
