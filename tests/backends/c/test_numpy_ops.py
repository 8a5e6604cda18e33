"""What C leaves to NumPy in large networks, and that it is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.scalar as ps
import pytensor.tensor as pt
import pytest
from pytensor.tensor.elemwise import DimShuffle, Elemwise

from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.c.numpy_ops import PerformOp, PythonScalarOp
from kfgn_graph.backends.rewrites import graph_size
from kfgn_graph.backends.rewrites.scalar_source import python_function

X = np.random.default_rng(1).normal(size=(3, 4))


def compiled() -> tuple[Callable[..., list[np.ndarray]], list[Any]]:
    """Compile views, joins and numbers; return the Ops that compute them as well."""
    x, k = pt.dmatrix("x"), pt.fscalar("k")
    size = x.shape[0].astype("float64")
    outputs = [
        pt.concatenate([x.T, x[:, :2].T], axis=0) * 2,
        pt.stack([x.sum(), size, x[0, 0]]),
        pt.switch(k > 0, pt.sqrt(k) / 3, -k),
        pt.eq(k, 1) & (k < 2),
        pt.sin(k),
        pt.diag(x @ x.T),
    ]
    function = pytensor.function([x, k], outputs, mode=resolve_backend("c", None).mode())
    return function, [node.op for node in function.maker.fgraph.apply_nodes]


@pytest.mark.usefixtures("network_size")
@pytest.mark.parametrize("k", [4.0, -2.0, 1.0, 0.0])
def test_views_and_numbers_are_numpys(k: float) -> None:
    function, _ = compiled()
    got = function(X, np.float32(k))
    want = [
        np.concatenate([X.T, X[:, :2].T]) * 2,
        [X.sum(), 3.0, X[0, 0]],
        np.sqrt(k) / 3 if k > 0 else -k,
        k == 1,
        np.sin(k),
        np.diag(X @ X.T),
    ]
    for result, right in zip(got, want, strict=True):
        np.testing.assert_allclose(result, right, rtol=1e-6)
    assert [result.dtype.name for result in got[2:5]] == ["float32", "bool", "float32"]


def test_a_large_network_has_no_c_of_views_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ops = compiled()
    numbers = [op.scalar_op for op in ops if isinstance(op, PythonScalarOp)]
    assert numbers
    assert any(isinstance(op, PerformOp) and isinstance(op.op, DimShuffle) for op in ops)
    assert not any(isinstance(op, DimShuffle) for op in ops)
    monkeypatch.setattr(graph_size, "SMALL", 10**9)
    _, ops = compiled()
    assert not any(isinstance(op, PythonScalarOp | PerformOp) for op in ops)


def test_a_number_that_is_divided_by_zero_is_infinite() -> None:
    a, b = pt.fscalars("a", "b")
    divide = python_function(ps.true_div, [ps.float32, ps.float32])
    assert divide is not None
    ratio = PythonScalarOp(ps.true_div, divide)(a, b)
    function = pytensor.function([a, b], ratio, mode=resolve_backend("c", None).mode())
    assert function(1, 0) == np.inf
    assert np.isnan(function(0, 0))
    assert Elemwise(ps.true_div)(a, b).type == ratio.type
