"""Statistics of the batch: constants in the curvature, differentiated in the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from pytensor.gradient import disconnected_grad

import kfgn_graph as kfgn

EXACT = 1e-9
PLAIN = Mode(linker="py", optimizer=None)
x, tokens, y = pt.dmatrix("x"), pt.dtensor3("tokens"), pt.dmatrix("y")
Statistic = Callable[[Any], Any]
Net = Callable[[Callable[..., Any], Statistic], tuple[Any, list[Any]]]


def normalised(h: Any, hold: Statistic, axes: Any = 0) -> Any:
    """Return h normalised by statistics of the batch, each wrapped by ``hold``."""
    centred = h - hold(h.mean(axis=axes))
    return centred / pt.sqrt(hold((centred**2).mean(axis=axes)) + 0.1)


def two_norms(p: Any, hold: Statistic) -> tuple[Any, list[Any]]:
    W, s, t = p("W", 3, 4), p("s", 4), p("t", 4)
    V, r, U = p("V", 4, 3), p("r", 3), p("U", 3, 2)
    h = pt.tanh(normalised(x @ W, hold) * s + t)
    h = h @ V
    mean = hold(h.mean(axis=0))
    h = (h - mean) * (r / pt.sqrt(hold(h.var(axis=0)) + 0.1))  # the scale meets the variance first
    return pt.tanh(h) @ U, [W, s, t, V, r, U]


def norm_of_tokens(p: Any, hold: Statistic) -> tuple[Any, list[Any]]:
    W, s, V = p("W", 3, 4), p("s", 4), p("V", 4, 2)
    h = normalised(tokens @ W, hold, (0, 1)) * s
    return pt.tanh(h).mean(axis=1) @ V, [W, s, V]


def largest_of_the_batch(p: Any, hold: Statistic) -> tuple[Any, list[Any]]:
    W, b, V = p("W", 3, 4), p("b", 4), p("V", 4, 2)
    h = pt.exp(x @ W + b)
    return (h / hold(h.max(axis=0))) @ V, [W, b, V]


@pytest.mark.parametrize("net", [two_norms, norm_of_tokens, largest_of_the_batch])
def test_curvature_holds_the_statistics_and_the_gradient_does_not(
    net: Net, rng: np.random.Generator
) -> None:
    values: dict[str, Any] = {}

    def parameter(name: str, *shape: int) -> Any:
        fresh = pytensor.shared(0.7 * rng.normal(size=shape), name=name)
        return values.setdefault(name, fresh)

    z, parameters = net(parameter, lambda v: v)
    constant, _ = net(parameter, disconnected_grad)
    loss = 0.5 * ((z - y) ** 2).sum(axis=1).mean()
    graph = kfgn.trace_layers(loss, parameters, batch_statistics="hold")
    factors = kfgn.curvature_factors(graph, kfgn.KFLR())
    copied = [layer for layer in graph.layers if layer.copies]
    v = [rng.normal(size=p.get_value().shape) for p in parameters]
    groups = [
        pytensor.grad(loss, parameters),
        pytensor.grad(graph.loss, parameters),
        [pt.jacobian(constant.flatten(), p, vectorize=True) for p in parameters],
        kfgn.gauss_newton_product(graph, [pt.constant(a) for a in v]),
        [factors[layer].G for layer in copied],
        [loss, graph.loss],
    ]
    data = [rng.normal(size=(5, 3)), rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 2))]
    outputs = [each for group in groups for each in group]
    compiled = pytensor.function([x, tokens, y], outputs, mode=PLAIN, on_unused_input="ignore")
    found = iter(compiled(*data))
    true, ours, jacobians, products, blocks, losses = ([next(found) for _ in g] for g in groups)
    np.testing.assert_allclose(losses[0], losses[1], rtol=EXACT)
    for wanted, got in zip(true, ours, strict=True):
        np.testing.assert_allclose(got, wanted, atol=EXACT)
    J = dict(zip(parameters, (a.reshape(10, -1) for a in jacobians), strict=True))
    image = sum(J[p] @ a.ravel() for p, a in zip(parameters, v, strict=True)) / 5
    for p, got in zip(parameters, products, strict=True):
        np.testing.assert_allclose(got.ravel(), J[p].T @ image, atol=EXACT)
    for layer, G in zip(copied, blocks, strict=True):
        np.testing.assert_allclose(G, J[layer.weight].T @ J[layer.weight] / 5, atol=EXACT)


def _parameter(name: str, *shape: int) -> Any:
    return pytensor.shared(np.ones(shape), name=name)


@pytest.mark.parametrize("net", [two_norms, norm_of_tokens])
def test_the_default_refuses_and_names_the_option(net: Net) -> None:
    z, parameters = net(_parameter, lambda v: v)
    loss = ((z - y) ** 2).mean()
    with pytest.raises(kfgn.NotABatchLossError, match="batch_statistics='hold'"):
        kfgn.trace_layers(loss, parameters)
    with pytest.raises(kfgn.SpecError, match="batch_statistics='stop'"):
        kfgn.trace_layers(loss, parameters, batch_statistics="stop")


def test_holding_changes_nothing_without_statistics_of_the_batch() -> None:
    W, V = _parameter("W", 3, 4), _parameter("V", 4, 2)
    h = pt.tanh(x @ W)
    loss = (((h - h.mean(axis=1, keepdims=True)) @ V - y) ** 2).mean()
    assert not kfgn.trace_layers(loss, [W, V], batch_statistics="hold").statistics


def test_a_sum_that_the_loss_alone_reads_is_no_statistic_of_the_network() -> None:
    W, V = _parameter("W", 3, 4), _parameter("V", 4, 2)
    h = pt.sigmoid(x @ W)
    sparsity = pt.log(h.mean(axis=0)).sum()
    loss = ((h @ V - y) ** 2).mean() + sparsity
    graph = kfgn.trace_layers(loss, [W, V], batch_statistics="hold")
    assert not graph.statistics
    assert graph.held


def test_training_updates_running_averages_and_explains_what_is_held(
    rng: np.random.Generator,
) -> None:
    layers = pytest.importorskip("pytensor_ml.layers")
    norm = layers.BatchNorm("norm", n_in=3, momentum=0.5)
    W = pytensor.shared(rng.normal(size=(3, 3)), name="W")
    V = pytensor.shared(rng.normal(size=(3, 2)), name="V")
    loss = ((pt.tanh(norm(pt.specify_shape(x @ W, (None, 3)))) @ V - y) ** 2).mean()
    parameters = [W, norm.scale, norm.loc, V]
    updates = kfgn.kfgn_updates(loss, parameters, batch_statistics="hold", method=kfgn.KFLR())
    step = pytensor.function([x, y], loss, updates=updates, mode=PLAIN)
    data = [rng.normal(size=(8, 3)), rng.normal(size=(8, 2))]
    h = data[0] @ W.get_value()
    losses = [step(*data)]
    np.testing.assert_allclose(norm.running_mean.get_value(), 0.5 * h.mean(axis=0), rtol=EXACT)
    np.testing.assert_allclose(norm.running_var.get_value(), 0.5 + 0.5 * h.var(axis=0))
    losses += [step(*data) for _ in range(4)]
    assert losses[-1] < 0.9 * losses[0]
    update = kfgn.compile_update(loss, parameters, [x, y], batch_statistics="hold")
    assert "batch_statistics='hold': 2 statistics" in update.explain()
