"""X^T X is computed by SYRK where there is one, right for every layout, and in every factor."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.graph.basic import Apply
from pytensor.tensor.elemwise import DimShuffle

import kfgn_graph as kfgn
from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.rewrites.syrk import Syrk
from tests.stepping import on_backends

BACKENDS = ("numba", "c")
SHAPES = [(5, 70), (70, 5), (33, 32), (1, 3), (3, 1), (1, 1), (0, 4)]
WIDTHS = [4, 6, 5, 3]


@cache
def products_on(backend: str, dtype: str) -> Any:
    """Compile X^T X, X X^T and, which is general, X^T (X + 1)."""
    X = pt.matrix("X", dtype=dtype)
    mode = resolve_backend(backend, None).mode()
    return pytensor.function([X], [X.T @ X, X @ X.T, X.T @ (X + 1)], mode=mode)


def layouts(x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the same matrix by rows, by columns, within wider ones, and backwards in memory."""
    yield x
    yield np.asfortranarray(x)
    n, d = x.shape
    wide = np.zeros((n, d + 5), x.dtype)
    wide[:, :d] = x
    yield wide[:, :d]
    sparse = np.zeros((2 * n, 3 * d), x.dtype)
    sparse[::2, ::3] = x
    yield sparse[::2, ::3]
    yield np.ascontiguousarray(x[::-1])[::-1]


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
