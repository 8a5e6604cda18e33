"""Rewrites of contractions to sums and products of entries, which rules and heads can read."""

from __future__ import annotations

from functools import reduce

import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.math import Dot, Prod

from kfgn_graph.layers.dtypes import is_float
from kfgn_graph.layers.patterns import replaced
from kfgn_graph.layers.views import underlying_parameter


@node_rewriter([Dot])
def find_inner_product(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Replace the inner product of two vectors, ``u @ v``, by the sum of their products."""
    row, column = (v.owner for v in node.inputs)
    if not _expands(row, ("x", 0)) or not _expands(column, (0, "x")):
        return None
    u, v = row.inputs[0], column.inputs[0]
    if any(underlying_parameter(w, fgraph.parameter_set) is not None for w in (u, v)):
        return None
    return replaced(node, (u * v).sum().dimshuffle("x", "x"))


def _expands(node: Apply | None, order: tuple[int | str, ...]) -> bool:
    return node is not None and isinstance(node.op, DimShuffle) and node.op.new_order == order


@node_rewriter([Prod])
def expand_product(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Replace a product over one axis of known length, which has no second derivative.

    The result is the product of the slices.
    """
    (x,) = node.inputs
    axes = range(x.type.ndim) if node.op.axis is None else node.op.axis
    if len(axes) != 1 or x.type.shape[axes[0]] is None or not is_float(x):
        return None
    before = (slice(None),) * axes[0]
    factors = [x[(*before, k)] for k in range(x.type.shape[axes[0]])]
    return replaced(node, reduce(pt.mul, factors)) if factors else None
