"""Rows are taken for examples only where that is proven."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph.layers.rows import rows_are_examples
from tests.harness import MODES, assert_close, in_python
from tests.stepping import on_backends
from tests.tolerances import EXACT, TRAJECTORY

pytestmark = pytest.mark.thorough

T, D, K = 3, 4, 2

NETS = {
    "rows": (lambda x: x[:, 0] * 2.0, True),
    "standardised": (lambda x: (x[:, 0] - 1.0) / np.ones(D), True),
    "one example's features": (lambda x: x.reshape((x.shape[0], T * D)), True),
    "sequence": (lambda x: x, True),
    "flat tokens": (lambda x: x.reshape((-1, D)), False),
    "tokens first": (lambda x: x.transpose(1, 0, 2).reshape((-1, D)), False),
    "reversed": (lambda x: x[::-1, 0], False),
    "centred on the batch": (lambda x: x[:, 0] - x[:, 0].mean(axis=0), False),
}


@pytest.mark.parametrize("name", list(NETS))
def test_rows_that_are_examples(name: str) -> None:
    forward, wanted = NETS[name]
    x = pt.tensor3("x", shape=(None, T, D))
    a = forward(x)
    W = pytensor.shared(np.ones((a.type.shape[-1] or D, K)), name="W")
    graph = kfgn.trace_layers(((a @ W) ** 2).mean(), [W])
    assert rows_are_examples([graph.output]) is wanted


def flat(x: Any, y: Any, W: Any) -> tuple[Any, Any]:
    return x.reshape((-1, D)) @ W, y.flatten()


def tokens_first(x: Any, y: Any, W: Any) -> tuple[Any, Any]:
    return x.transpose(1, 0, 2).reshape((-1, D)) @ W, y.T.flatten()


def three_axes(x: Any, y: Any, W: Any) -> tuple[Any, Any]:
    return (x.reshape((-1, D)) @ W).reshape((x.shape[0], x.shape[1], K)), y


def rows(x: Any, y: Any, W: Any) -> tuple[Any, Any]:
    return x @ W, y


def trained(form: Any, x: Any, y: Any, arrays: Any, backend: str, **settings: Any) -> np.ndarray:
    """Return the weight after two updates."""
    W = pytensor.shared(np.random.default_rng(1).normal(size=(D, K)), name="W", shape=(D, K))
    logits, labels = form(x, y, W)
    p = pt.special.log_softmax(logits, axis=-1)
    first = pt.arange(labels.shape[0])
    if labels.ndim == 1:
        loss = -p[first, labels].mean()
    else:
        loss = -p[first[:, None], pt.arange(labels.shape[1])[None], labels].mean()
    update = kfgn.compile_update(
        loss, [W], [x, y], method=kfgn.KFLR(), backend=backend, **settings
    )
    for _ in range(2):
        assert not update(*arrays).skipped
    return np.asarray(W.get_value())


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize(
    ("form", "static"), [(flat, True), (tokens_first, True), (three_axes, False)]
)
def test_tokens_as_rows(form: Any, backend: str, static: bool) -> None:
    """There are fewer examples than the quadratic model reads, and more tokens."""
    X = np.random.default_rng(0).normal(size=(90, T, D))
    Y = (X.sum(axis=-1) > 0).astype(int)
    x, y = pt.tensor3("x", shape=(None, T if static else None, D)), pt.lmatrix("y")
    found = trained(form, x, y, (X, Y), backend)
    whole = kfgn.Rescaling(examples=None)
    flattened = (X.reshape(-1, D), Y.ravel())
    wanted = trained(rows, pt.matrix("x"), pt.lvector("y"), flattened, backend, step=whole)
    assert_close(found, wanted, TRAJECTORY)


def read_back(x: Any, W: Any, w: Any) -> Any:
    """Tokens in their shape again, read by a vector."""
    h = pt.tanh(x.reshape((-1, D)) @ W)
    return pt.exp(h.reshape((x.shape[0], T, K))) @ w


def read_back_by_hidden_shape(x: Any, W: Any, w: Any) -> Any:
    """The rows of the target shape are those of a variable with two example axes."""
    h = pt.tanh((x.reshape((-1, D)) @ W).reshape((x.shape[0], T, K)))
    return (pt.exp(h.reshape((-1, K))) @ w).reshape((h.shape[0], T))


@pytest.mark.parametrize("network", [read_back, read_back_by_hidden_shape])
def test_tokens_that_are_brought_back_to_sequences(network: Any) -> None:
    r = np.random.default_rng(0)
    X, Y, v = r.normal(size=(5, T, D)), r.normal(size=(5, T)), r.normal(size=(D, K))
    W, w = r.normal(size=(D, K)), r.normal(size=K)
    p = [pytensor.shared(a, name=n, shape=a.shape) for a, n in ((W, "W"), (w, "w"))]
    x, y = pt.tensor3("x", shape=(None, T, D)), pt.matrix("y", shape=(None, T))
    graph = kfgn.trace_layers(((network(x, *p) - y) ** 2).mean(), p)
    blocks = kfgn.curvature_factors(graph, kfgn.BlockGaussNewton())
    product = kfgn.gauss_newton_product(graph, [pt.constant(v), pt.zeros(K)])
    dense = [block.to_dense() for block in blocks.values()]
    found, first, second = in_python([x, y], [product[0], *dense])(X, Y)
    h = np.tanh(X @ W)
    # dz / dW for each token, and the Hessian 2 / (N T) of the mean of squares.
    J = np.einsum("nti,ntk->ntik", X, (1 - h**2) * np.exp(h) * w).reshape(5 * T, D * K)
    by_w = np.exp(h).reshape(5 * T, K)
    assert_close(first, 2 / (5 * T) * J.T @ J, EXACT)
    assert_close(second, 2 / (5 * T) * by_w.T @ by_w, EXACT)
    assert_close(found.ravel(), 2 / (5 * T) * J.T @ J @ v.ravel(), EXACT)
