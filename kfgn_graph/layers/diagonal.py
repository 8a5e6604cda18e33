"""Parameters of which only the diagonal of the Gauss-Newton matrix is kept.

They are read by no layer, and are too large for the dense block of
:mod:`kfgn_graph.layers.copies`, or an Op that reads them cannot be computed from one example at a
time. Examples are a normalised large weight, a masked one and a class token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable, clone_get_equiv
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.copies import NotCopied
from kfgn_graph.layers.entries import Entry, entries, has_rows
from kfgn_graph.layers.graph import DiagonalParameter, Layer
from kfgn_graph.layers.ir import Affine, Lookup, affine, lookup
from kfgn_graph.layers.names import unique_keys, unique_names
from kfgn_graph.layers.views import underlying_parameter
from kfgn_graph.printing import describe


def without_layers_of(
    loss: TensorVariable, parameters: Collection[TensorSharedVariable]
) -> TensorVariable:
    """Return a loss in which no affine map has one of the parameters as its weight or bias.

    A map by one of them keeps its Op, with a copy of the weight, which is no parameter.

    Parameters
    ----------
    loss : scalar TensorVariable
        A loss in the intermediate representation. Its graph is not changed.
    parameters : collection of shared variables
        The parameters.
    """
    loss = clone_get_equiv([], [loss], copy_inputs=False, copy_orphans=False)[loss]
    fgraph = FunctionGraph([*graph_inputs([loss])], [loss], clone=False)
    for node in [n for n in toposort([loss]) if isinstance(n.op, Affine)]:
        plain = _without(node, parameters)
        if plain is not None:
            plain.name = node.outputs[0].name
            fgraph.replace(node.outputs[0], plain, import_missing=True)
    return fgraph.outputs[0]


def _without(node: Apply, parameters: Collection[Variable]) -> TensorVariable | None:
    """Return an affine map without the parameters in it; None if it reads none of them."""
    a, W, *biases = node.inputs
    if underlying_parameter(W, parameters) is not None:
        W = pt.tensor_copy(W)
    elif not biases or underlying_parameter(biases[0], parameters) is None:
        return None
    h = lookup(a, W) if isinstance(node.op, Lookup) else affine(a, W)
    return h + biases[0] if biases else h


def meeting_examples(
    loss: TensorVariable,
    parameters: Mapping[TensorSharedVariable, str],
    trained: Collection[TensorSharedVariable],
) -> dict[TensorSharedVariable, list[Entry]]:
    """Return, for each of the parameters, the nodes at which it meets values of the examples.

    Parameters
    ----------
    loss : scalar TensorVariable
        The data loss, in the intermediate representation.
    parameters : mapping
        Parameters that no layer reads, each with the reason.
    trained : collection of shared variables
        All parameters to train.

    Raises
    ------
    NotCopied
        If one of them meets no example, or is read where there is no example axis.
    """
    found = {}
    for p in parameters:
        found[p] = entries(loss, [p], trained)
        if not found[p]:
            raise NotCopied([p], "no value of an example meets it")
        for entry in found[p]:
            if entry.lead < 1 and not any(map(has_rows, entry.examples)):
                where = describe(entry.node.outputs[0])
                raise NotCopied(
                    [p], f"{entry.node.op} in {where} reads it where there is no example axis"
                )
    return found


def diagonal_parameters(
    found: Mapping[TensorSharedVariable, Sequence[Entry]],
    reasons: Mapping[TensorSharedVariable, str],
    layers: Sequence[Layer],
) -> tuple[DiagonalParameter, ...]:
    """Return the parameters with unique names, given where each of them meets examples."""
    taken = [layer.name for layer in layers]
    names = unique_names([*taken, *(p.name for p in found)], "parameter")
    keys = unique_keys(names)
    return tuple(
        DiagonalParameter(name, p, key, reasons[p], tuple(e.node.outputs[0] for e in met))
        for (p, met), name, key in zip(
            found.items(), names[len(taken) :], keys[len(taken) :], strict=True
        )
    )
