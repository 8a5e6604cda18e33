"""Sums of products over whole arrays are scalar products on C, right for every layout."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.elemwise import CAReduce

from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.rewrites.dot import BLOCK, Inner
from tests.graphs import WIDTHS, nodes_within, step_graph
from tests.matrices import layouts
from tests.stepping import on_backends

pytestmark = pytest.mark.parametrize("backend", on_backends(["c"]))
SHAPES = [(3, BLOCK), (1, BLOCK + 1), (BLOCK - 1, 1), (5, 7), (1, 1), (0, 4)]


@cache
def products_on(backend: str, dtype: str) -> Any:
    """Compile <x, y> and ||x||^2."""
    x, y = (pt.matrix(name, dtype=dtype) for name in "xy")
    mode = resolve_backend(backend, None).mode()
    return pytensor.function([x, y], [(x * y).sum(), (x * x).sum()], mode=mode)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_every_layout(dtype: str, backend: str, rng: np.random.Generator) -> None:
    function = products_on(backend, dtype)
    precision = np.finfo(dtype).eps
    for shape in SHAPES:
        x, y = rng.standard_normal((2, *shape)).astype(dtype)
        for same in layouts(x):
            for got, other in zip(function(same, y), (y, x), strict=True):
                terms = x.astype("longdouble") * other
                assert got.dtype == dtype
                # products are rounded once, and partial sums of a block a few dozen times
                assert abs(got - terms.sum()) <= 32 * precision * abs(terms).sum()


def test_arrays_of_different_shapes_are_refused(backend: str) -> None:
    with pytest.raises(ValueError, match="different shapes"):
        products_on(backend, "float32")(np.ones((2, 3), "float32"), np.ones((3, 2), "float32"))


def test_a_sum_over_an_axis_or_of_a_broadcast_product_is_none(backend: str) -> None:
    x, y, row = pt.matrix("x"), pt.matrix("y"), pt.row("row")
    outputs = [(x * y).sum(axis=0), (row * y).sum(), (x * y * row).sum()]
    mode = resolve_backend(backend, None).mode()
    graph = pytensor.function([x, y, row], outputs, mode=mode).maker.fgraph
    assert not any(isinstance(node.op, Inner) for node in graph.apply_nodes)


def test_a_step_adds_up_no_array_of_a_weights_shape(backend: str) -> None:
    """Norms, slopes and the damping's part of curvatures are all scalar products."""
    nodes = list(nodes_within(step_graph(backend)))
    assert any(isinstance(node.op, Inner) for node in nodes)
    sums = {
        node.inputs[0].type.shape
        for node in nodes
        if isinstance(node.op, CAReduce) and node.outputs[0].type.ndim == 0
    }
    assert not sums & set(pairwise(WIDTHS))
