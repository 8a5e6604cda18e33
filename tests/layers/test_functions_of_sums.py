"""Losses that are a function of sums over the examples: their factors are held."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from tests.harness import assert_close, in_python
from tests.tolerances import EXACT

D, K = 3, 2
W = pytensor.shared(np.linspace(-1, 1, D * K).reshape(D, K), name="W", shape=(D, K))
X, Y = pt.matrix("x", shape=(None, D)), pt.matrix("y", shape=(None, K))
SQUARES = (X @ W - Y) ** 2
Loss = TensorVariable

#: Each loss, with the losses of the columns' weights: dF / d(mean square of the column).
CASES: dict[str, tuple[Loss, Callable[[np.ndarray], np.ndarray]]] = {
    "rmse": (pt.sqrt(SQUARES.mean()), lambda m: np.full(K, 0.5 / K) / np.sqrt(m.mean())),
    "rmse by column": (pt.sqrt(SQUARES.mean(axis=0)).mean(), lambda m: 0.5 / K / np.sqrt(m)),
    "weighted columns": (
        SQUARES.mean(axis=0)[0] * 2 + SQUARES.mean(axis=0)[1],
        lambda m: np.array([2.0, 1.0]),
    ),
    "log": (3 * pt.log(SQUARES.mean()) + 1, lambda m: np.full(K, 3 / K) / m.mean()),
    "with a penalty": (
        pt.sqrt(SQUARES.mean()) + 0.1 * (W**2).sum(),
        lambda m: np.full(K, 0.5 / K) / np.sqrt(m.mean()),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_curvature_is_the_sums_times_the_derivatives(
    name: str, rng: np.random.Generator
) -> None:
    loss, weights = CASES[name]
    x, y = rng.normal(size=(6, D)), rng.normal(size=(6, K))
    graph = kfgn.trace_layers(loss, [W])
    (factors,) = kfgn.curvature_factors(graph, kfgn.KFLR()).values()
    found = [graph.loss, pytensor.grad(graph.loss, W), factors.G]
    value, gradient, G = in_python([X, Y], found)(x, y)
    true = in_python([X, Y], [loss, pytensor.grad(loss, W)])(x, y)
    assert_close(value, true[0], EXACT)
    assert_close(gradient, true[1], EXACT)
    means = ((x @ W.get_value() - y) ** 2).mean(axis=0)
    assert_close(G, np.diag(2 * weights(means)), EXACT)


@pytest.mark.parametrize(
    "loss",
    [
        pt.sqrt(SQUARES.mean() + 0.1 * (W**2).sum()),  # the penalty's gradient would be lost
        ((X @ W - (X @ W).mean(axis=0)) ** 2).mean(),  # an example reads a sum
    ],
)
def test_what_reads_sums_otherwise_is_refused(loss: Loss) -> None:
    with pytest.raises((kfgn.NotABatchLossError, kfgn.UnmatchedParameterError)):
        kfgn.trace_layers(loss, [W])


@pytest.mark.thorough
def test_a_root_mean_squared_error_trains(rng: np.random.Generator) -> None:
    V = pytensor.shared(np.zeros((D, K)), name="V", shape=(D, K))
    loss = pt.sqrt(((X @ V - Y) ** 2).mean())
    x = rng.normal(size=(20, D))
    y = x @ rng.normal(size=(D, K)) + 0.1 * rng.normal(size=(20, K))
    update = kfgn.compile_update(loss, [V], [X, Y], backend="jax")
    losses = [update(x, y).loss for _ in range(30)]
    least = np.sqrt(((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).mean())
    assert least <= losses[-1] < 1.01 * least
    assert "held: the derivatives of the loss in sums over the examples" in update.explain()
