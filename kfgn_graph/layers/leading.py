"""The network on the first examples of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import explicit_graph_inputs, graph_inputs
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.graph import LayerGraph, recognise


def leading_output(
    graph: LayerGraph,
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    output: TensorVariable | None,
    unmatched: str,
    count: int,
) -> TensorVariable | None:
    """Return the network's output z of the first ``count`` examples, by a forward pass of its own.

    Parameters
    ----------
    graph : LayerGraph
        What was recognised for all of them, split at the output that is wanted.
    loss, params, output, unmatched
        What it was recognised from.
    count : int

    Returns
    -------
    TensorVariable or None
        None where the graph itself may fix the number of examples: where it reads an array longer
        than ``count`` that is neither input nor parameter, such as constant data, or where static
        shapes within say so.
    """
    inputs = [v for v in explicit_graph_inputs([loss]) if v.type.ndim > 0]
    others = {*graph_inputs([loss])} - {*inputs, *params}
    if not inputs or any(_length(v) > count for v in others):
        return None
    targets = [loss] if output is None else [loss, output]
    try:
        copies = clone_replace(targets, {v: v[:count] for v in inputs}, rebuild_strict=False)
    except (TypeError, ValueError):  # an Op of static shapes that do not fit fewer examples
        return None
    part = recognise(copies[0], params, None if output is None else copies[1], unmatched)
    z = part.candidates[graph.candidates.index(graph.output)]
    return z if z.type.shape[0] == graph.output[:count].type.shape[0] else None


def _length(v: Variable) -> int:
    """Return the leading length of a shared variable's or constant's value, or 0."""
    if isinstance(v, SharedVariable):
        shape = np.shape(v.get_value(borrow=True))
    else:
        shape = np.shape(v.data) if isinstance(v, Constant) else ()
    return int(shape[0]) if shape else 0
