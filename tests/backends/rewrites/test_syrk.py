"""X^T X is computed by SYRK where there is one, right for every layout, and in every factor."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.elemwise import DimShuffle

from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.rewrites.syrk import Syrk
from tests.graphs import WIDTHS, nodes_within, step_graph
from tests.matrices import layouts
from tests.stepping import on_backends

BACKENDS = ("numba", "c")
SHAPES = [(5, 70), (70, 5), (33, 32), (1, 3), (3, 1), (1, 1), (0, 4)]


@cache
def products_on(backend: str, dtype: str) -> Any:
    """Compile X^T X, X X^T and, which is general, X^T (X + 1)."""
    X = pt.matrix("X", dtype=dtype)
    mode = resolve_backend(backend, None).mode()
    return pytensor.function([X], [X.T @ X, X @ X.T, X.T @ (X + 1)], mode=mode)


@pytest.mark.parametrize("backend", on_backends(BACKENDS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_every_layout(dtype: str, backend: str, rng: np.random.Generator) -> None:
    function = products_on(backend, dtype)
    rtol = 1e-4 if dtype == "float32" else 1e-12
    for shape in SHAPES:
        x = rng.standard_normal(shape).astype(dtype)
        for same in layouts(x):
            results = function(same)
            assert {r.dtype for r in results} == {np.dtype(dtype)}
            for got, want in zip(results, [x.T @ x, x @ x.T, x.T @ (x + 1)], strict=True):
                np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)
            for got in results[:2]:
                assert np.array_equal(got, got.T)


@pytest.mark.parametrize("backend", on_backends(BACKENDS))
def test_one_syrk_for_each_product(backend: str) -> None:
    function = products_on(backend, "float32")
    ops = [type(node.op).__name__ for node in function.maker.fgraph.apply_nodes]
    assert ops.count("Syrk") == 2
    assert sum(name in ("Dot", "Dot22", "Gemm") for name in ops) == 1


@pytest.mark.parametrize("backend", on_backends(BACKENDS))
@pytest.mark.parametrize("factors_every", [1, 5])
def test_a_step_has_one_syrk_for_each_factor_that_is_a_product(
    factors_every: int, backend: str
) -> None:
    """Q = a^T a of each layer, E[b b^T] between two, and W G W^T of the output's diagonal G."""
    graph = step_graph(backend, factors_every=factors_every)
    layers = len(WIDTHS) - 1
    products = sum(isinstance(node.op, Syrk) for node in nodes_within(graph))
    assert products == layers + (layers - 1) + 1
    for node in nodes_within(graph):
        if type(node.op).__name__ in ("Dot", "Dot22"):
            left, right = (transposed_of(v) for v in node.inputs)
            assert left is not node.inputs[1] and right is not node.inputs[0]


def transposed_of(v: Any) -> Any:
    """Return what v is the transpose of, or None."""
    return v.owner.inputs[0] if v.owner and isinstance(v.owner.op, DimShuffle) else None
