"""The outputs of a loss that is a sum of terms, such as a residual inside and one at the boundary.

The terms meet only after the sums over the examples, so that no single variable separates the
network from the loss. Each term by itself has an output, the residual that it squares.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pytensor.graph.basic import Apply, Variable
from pytensor.scalar import Add, Cast, Mul, Neg, Sub, TrueDiv
from pytensor.tensor.elemwise import CAReduce, DimShuffle, Elemwise
from pytensor.tensor.shape import Reshape, SpecifyShape
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.candidates import find_candidates
from kfgn_graph.layers.rows import ONE_ROW_EACH
from kfgn_graph.layers.traversal import dependents, nodes_between


def term_outputs(
    data_loss: TensorVariable,
    nodes: Sequence[Apply],
    example_axes: Mapping[Variable, int],
    fixed: Collection[Variable],
) -> list[TensorVariable] | None:
    """Return the variable of each additive term that splits it from the network.

    Parameters
    ----------
    data_loss : scalar TensorVariable
        The data loss, in the intermediate representation.
    nodes, example_axes, fixed
        See :func:`find_candidates`.

    Returns
    -------
    list of TensorVariable or None
        Each output once. None if a term has none with one example axis, or is linear in it, as
        in the losses of the examples.
    """
    varying = dependents([data_loss], [node.outputs[0] for node in nodes])
    found: dict[TensorVariable, None] = {}
    for term in additive_terms(data_loss, varying):
        candidates = find_candidates(term, nodes, example_axes, None, fixed)
        if not candidates:
            return None
        nearest = candidates[0]
        if example_axes[nearest] != ONE_ROW_EACH or _linear(term, nearest):
            return None
        found[nearest] = None
    return list(found)


def additive_terms(loss: Variable, varying: Collection[Variable]) -> list[Variable]:
    """Return the scalars that add up to a scalar, up to constant factors."""
    terms, pending = [], [loss]
    while pending:
        v = pending.pop()
        inputs = _summands(v.owner, varying)
        if inputs:
            pending.extend(inputs)
        else:
            terms.append(v)
    return terms


def _summands(node: Apply | None, varying: Collection[Variable]) -> list[Variable]:
    """Return the inputs that vary, if the node is an elementwise Op that is linear in them."""
    if node is None or not isinstance(node.op, Elemwise):
        return []
    inputs = [v for v in node.inputs if v in varying]
    operation = node.op.scalar_op
    if isinstance(operation, Add | Sub | Neg | Cast):
        return inputs
    scaled = isinstance(operation, Mul) or (
        isinstance(operation, TrueDiv) and node.inputs[1] not in varying
    )
    return inputs if scaled and len(inputs) == 1 else []


def _linear(term: Variable, output: Variable) -> bool:
    """Return whether all Ops between an output and a term are sums, scalings and new axes."""
    varying = dependents([term], [output])
    inner = {v: None for v in varying if v is not output}
    return all(
        isinstance(node.op, CAReduce | DimShuffle | Reshape | SpecifyShape)
        or _summands(node, varying)
        for node in nodes_between(term, inner)
    )
