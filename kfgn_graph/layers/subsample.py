"""The network on the first examples of a batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import explicit_graph_inputs, graph_inputs
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.dtypes import has_axes
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.layers.ir import Affine, NetworkOutput
from kfgn_graph.layers.recognition import recognise, split_jointly
from kfgn_graph.layers.rows import rows_are_examples
from kfgn_graph.layers.traversal import dependents, nodes_between
from kfgn_graph.shared_values import value_shape


@dataclass(frozen=True, eq=False)
class Leading:
    """The network on a batch's first examples.

    Attributes
    ----------
    output : TensorVariable
        Its output z, by a forward pass of its own, through which derivatives can be taken.
    computed : mapping
        Variables of that pass to the first rows of what the whole batch's pass computes anyway.
    """

    output: TensorVariable
    computed: Mapping[Variable, TensorVariable]


def leading_examples(
    graph: LayerGraph,
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    output: TensorVariable | None,
    unmatched: str,
    count: int,
    shared: Collection[Variable] = (),
) -> Leading | None:
    """Return the network on the first ``count`` examples.

    Parameters
    ----------
    graph : LayerGraph
        What was recognised for all of them, split at the output that is wanted.
    loss, params, output, unmatched
        What it was recognised from.
    count : int
    shared : collection of Variable
        The inputs whose leading axis does not enumerate examples.

    Returns
    -------
    Leading or None
        None where the graph itself may fix the number of examples: where it reads an array longer
        than ``count`` that is neither input nor parameter, such as constant data, or where static
        shapes within say so. None also where the rows of the output cannot be shown to be the
        examples, such as the tokens of all examples in one matrix.
    """
    inputs = [v for v in explicit_graph_inputs([loss]) if has_axes(v) and v not in shared]
    others = {*graph_inputs([loss])} - {*inputs, *params}
    if not inputs or any(_length(v) > count for v in others):
        return None
    if not rows_are_examples([graph.output], shared):
        return None
    targets = [loss] if output is None else [loss, output]
    rows = {v: v[:count] for v in inputs}
    # recognised over inputs, from which the proofs of recognition begin
    own = {v: first.type() for v, first in rows.items()}
    try:
        copies = clone_replace(targets, own, rebuild_strict=False)
    except (TypeError, ValueError):  # an Op of static shapes that do not fit fewer examples
        return None
    part = recognise(copies[0], params, None if output is None else copies[1], unmatched)
    if output is None and _is_marked(graph) and not _is_marked(part):
        part = split_jointly(part) or part
    z = part.candidates[graph.candidates.index(graph.output)]
    if z.type.shape[0] != graph.output[:count].type.shape[0]:
        return None
    ours, theirs = _activations(part), _activations(graph)
    z, *ours = clone_replace([z, *ours], {own[v]: first for v, first in rows.items()})
    batch = explicit_graph_inputs([graph.loss])
    pairs = zip(ours, theirs, strict=True)
    return Leading(z, {v: w[:count] for v, w in pairs if _is_row_by_row(w, batch)})


def _activations(graph: LayerGraph) -> list[TensorVariable]:
    """Return the inputs and pre-activations of all affine maps."""
    uses = [use for side in graph.sides for use in side.uses]
    return [v for use in uses for v in (use.input, use.preactivation)]


def _is_marked(graph: LayerGraph) -> bool:
    """Return whether the graph is split at a joint output, if the user chose none."""
    return graph.output.owner is not None and isinstance(graph.output.owner.op, NetworkOutput)


def _is_row_by_row(v: TensorVariable, batch: Collection[Variable]) -> bool:
    """Return whether each row of v is made of the same row of the batch alone."""
    varying = dependents([v], batch)
    return all(isinstance(n.op, Affine | Elemwise) for n in nodes_between(v, varying))


def _length(v: Variable) -> int:
    """Return the leading length of a shared variable's or constant's value, or 0."""
    if isinstance(v, SharedVariable):
        shape = value_shape(v)
    else:
        shape = np.shape(v.data) if isinstance(v, Constant) else ()
    return int(shape[0]) if shape else 0
