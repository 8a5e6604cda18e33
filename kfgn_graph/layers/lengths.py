"""Proof that two symbolic lengths are equal."""

from __future__ import annotations

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable, equal_computations
from pytensor.graph.replace import clone_replace
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import graph_inputs
from pytensor.tensor.shape import Reshape
from pytensor.tensor.type import TensorType

from kfgn_graph.layers.dtypes import has_axes
from kfgn_graph.shared_values import value_shape

type Size = Variable | int


def are_equal(first: Size, second: Size) -> bool:
    """Return whether two lengths are the same function of the inputs' shapes.

    Both are rewritten by the shape rules of all Ops. Shared variables have the shapes of their
    values.
    """
    if isinstance(first, int) and isinstance(second, int):
        return first == second
    one, other = (np.int64(v) if isinstance(v, int) else v for v in (first, second))
    one, other = (_rewritten(v) if isinstance(v, Variable) else v for v in (one, other))
    return equal_computations([one], [other])


def known_length(size: Size) -> int | None:
    """Return a length as a number, if it depends on shared variables and constants alone."""
    found = _rewritten(size) if isinstance(size, Variable) else size
    return int(found) if isinstance(found, int | np.integer) and found >= 0 else None


def _rewritten(length: Variable) -> Variable | np.int64:
    """Return a length as a function of the shapes of the inputs; a number if it is constant."""
    known = {
        v: TensorType(v.type.dtype, value_shape(v))()
        for v in graph_inputs([length])
        if isinstance(v, SharedVariable) and has_axes(v)
    }
    (copy,) = clone_replace([length.astype("int64")], known, rebuild_strict=False)
    found = rewrite_graph(copy, ("ShapeOpt", "canonicalize"))
    return np.int64(found.data) if isinstance(found, Constant) and found.ndim == 0 else found


def target_sizes(reshape: Variable) -> list[Size]:
    """Return the lengths that a reshaped variable is given: numbers where they are known.

    A length of -1 is that of the rest.
    """
    node = reshape.owner
    if not isinstance(node.op, Reshape):
        return lengths_of(reshape)
    sizes = [node.inputs[1][k] for k in range(reshape.type.ndim)]
    if isinstance(node.inputs[1], Constant):
        sizes = [int(n) for n in node.inputs[1].data]
    return [s if n is None else n for s, n in zip(sizes, reshape.type.shape, strict=True)]


def lengths_of(v: Variable) -> list[Size]:
    """Return the length of each axis: a number where it is known."""
    return [v.shape[k] if n is None else n for k, n in enumerate(v.type.shape)]
