"""Weights that several affine maps read, as W or as its transpose.

A tied autoencoder, a siamese network, an unrolled recurrence, several terms of a loss, and
derivatives of the network inside the loss read one weight several times. The affine maps that
read W are positions that share it, and so are those that read W^T.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pytensor.graph.basic import Apply, Variable, equal_computations
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.traversal import graph_inputs
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.ir import Lookup, affine
from kfgn_graph.layers.patterns import replaced
from kfgn_graph.layers.traversal import clients_of, value_nodes
from kfgn_graph.layers.verification import Clients, affine_uses, unmatched_path
from kfgn_graph.layers.views import underlying_parameter
from kfgn_graph.shared_values import value_shape


@dataclass(frozen=True, eq=False)
class Tied:
    """The affine maps that read one weight.

    Attributes
    ----------
    direct : tuple of Apply
        Those that read W, as the layer stores it.
    reverse : tuple of Apply
        Those that read W^T.
    bias : Variable or None
        The parameter that all of ``direct`` add, and nothing else reads.
    """

    direct: tuple[Apply, ...]
    reverse: tuple[Apply, ...]
    bias: Variable | None


def find_tied(loss: Variable, parameters: Sequence[Variable]) -> dict[Variable, Tied]:
    """Return the weights that several affine maps read, and nothing else.

    W is read as by the maps that share the largest bias, so that the weight and this bias are one
    block, or else as by the first map.

    Parameters
    ----------
    loss : TensorVariable
        The data loss, in the intermediate representation.
    parameters : sequence of shared variables
        The parameters to train.
    """
    clients = clients_of(value_nodes([loss]))
    found = {}
    for p in parameters:
        uses = affine_uses(p, clients)
        several = len(uses) > 1 and all(index == 1 for _, index in uses)
        several &= not any(isinstance(node.op, Lookup) for node, _ in uses)
        if several and unmatched_path(p, clients) is None:
            sides = _sides([node for node, _ in uses])
            if sides is not None:
                shared = [_shared_bias(nodes, parameters, clients) for nodes in sides]
                sizes = [0 if b is None else np.prod(value_shape(b)) for b in shared]
                k = int(np.argmax(sizes))
                found[p] = Tied(tuple(sides[k]), tuple(sides[1 - k]), shared[k])
    return found


def covered(found: Mapping[Variable, Tied], weights: Collection[Variable]) -> set[Variable]:
    """Return those of the weights that were found tied, with the biases of their blocks."""
    kept = {p: each for p, each in found.items() if p in weights}
    return {*kept, *(each.bias for each in kept.values() if each.bias is not None)}


def with_separate_biases(
    loss: TensorVariable, parameters: Sequence[Variable], weights: Collection[Variable]
) -> TensorVariable:
    """Return a loss in which tied weights and biases outside their blocks meet in a sum.

    Parameters
    ----------
    loss : scalar TensorVariable
        A loss in the intermediate representation; its graph is changed in place.
    parameters : sequence of shared variables
        The parameters to train.
    weights : collection of shared variables
        The tied weights.
    """
    fgraph = FunctionGraph([*graph_inputs([loss])], [loss], clone=False)
    for p, tied in find_tied(loss, parameters).items():
        kept = tied.direct if tied.bias is not None else ()
        for node in (*tied.direct, *tied.reverse) if p in weights else ():
            if len(node.inputs) == 3 and node not in kept:
                a, W, b = node.inputs
                (h,) = replaced(node, affine(a, W) + b)
                fgraph.replace(node.outputs[0], h, import_missing=True)
    return fgraph.outputs[0]


def _sides(nodes: Sequence[Apply]) -> tuple[list[Apply], list[Apply]] | None:
    """Return the nodes that read the same matrix as the first, and those of its transpose.

    None if one reads another matrix, such as another reshape of the parameter.
    """
    sides: tuple[list[Apply], list[Apply]] = ([], [])
    base, turned = _without_transposition(nodes[0].inputs[1])
    for node in nodes:
        view, other = _without_transposition(node.inputs[1])
        if not equal_computations([view], [base]):
            return None
        sides[other != turned].append(node)
    return sides


def _without_transposition(view: Variable) -> tuple[Variable, bool]:
    """Return what a view of a parameter transposes, and whether it does, at its last steps."""
    turned = False
    while (node := view.owner) is not None:
        if not isinstance(node.op, DimShuffle) or node.op.new_order != (1, 0):
            break
        view, turned = node.inputs[0], not turned
    return view, turned


def _shared_bias(
    nodes: Sequence[Apply], parameters: Sequence[Variable], clients: Clients
) -> Variable | None:
    """Return the parameter that all of some affine maps add and nothing else reads, if any."""
    if not nodes or any(len(node.inputs) < 3 for node in nodes):
        return None
    biases = {underlying_parameter(node.inputs[2], parameters) for node in nodes}
    bias = biases.pop()
    if biases or bias is None or unmatched_path(bias, clients) is not None:
        return None
    readers = [node for node, _ in affine_uses(bias, clients)]
    return bias if set(readers) == set(nodes) and len(readers) == len(nodes) else None
