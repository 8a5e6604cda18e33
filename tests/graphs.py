"""The graph that a backend runs for an update, to look at its Ops."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.basic import Apply

import kfgn_graph as kfgn

WIDTHS = [4, 6, 5, 3]


def step_update(backend: str, **settings: Any) -> kfgn.Update:
    """Build the update of a network, as from the user's door."""
    rng = np.random.default_rng(0)
    X = pt.matrix("X", shape=(None, WIDTHS[0]), dtype="float32")
    a, params = X, []
    for i, (d_in, d_out) in enumerate(pairwise(WIDTHS)):
        W = rng.standard_normal((d_in, d_out)).astype("float32")
        b = np.zeros(d_out, "float32")
        params += [pytensor.shared(W, f"W{i}"), pytensor.shared(b, f"b{i}")]
        a = a @ params[-2] + params[-1]
        a = pt.tanh(a) if i < len(WIDTHS) - 2 else a
    loss = (pt.softplus(a) - a * 0.5).sum(axis=1).mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kfgn.compile_update(loss, params, [X], backend=backend, **settings)


@cache
def step_graph(backend: str, **settings: Any) -> Any:
    """Compile that update and return what the backend runs."""
    update = step_update(backend, **settings)
    return update.function_for([np.zeros((7, WIDTHS[0]), "float32")]).maker.fgraph


def nodes_within(fgraph: Any) -> Iterator[Apply]:
    """Yield all nodes, those within Ops and branches too."""
    for node in fgraph.apply_nodes:
        yield node
        lazy = type(node.op).__name__ == "LazyIfElse"
        for op in (node.op.true_branch, node.op.false_branch) if lazy else (node.op,):
            if hasattr(op, "fgraph"):
                yield from nodes_within(op.fgraph)
