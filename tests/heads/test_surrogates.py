"""Surrogates of the loss's Hessian: a majoriser of losses with kinks, and absolute values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.variable import TensorVariable
from scipy.optimize import linprog

import kfgn_graph as kfgn
from kfgn_graph.heads import find_head
from tests.harness import assert_close, in_python
from tests.tolerances import EXACT

N, K, DELTA = 7, 3, 1e-3
Array = np.ndarray
Loss = Callable[[TensorVariable, TensorVariable], TensorVariable]


def labelled(z: TensorVariable, y: TensorVariable) -> TensorVariable:
    """Return the score of the label of each example: the sign of y's first column is 0 or 1."""
    return z[pt.arange(z.shape[0]), (y[:, 0] > 0).astype("int64")]


def crammer_singer(z: TensorVariable, y: TensorVariable) -> TensorVariable:
    label = (y[:, 0] > 0).astype("int64")
    others = pt.set_subtensor(z[pt.arange(z.shape[0]), label], -np.inf).max(axis=1)
    return pt.maximum(0, 1 + others - labelled(z, y)).sum()


def deep(u: TensorVariable) -> TensorVariable:
    return pt.switch(abs(u) < 1, 0.5 * abs(u) ** 2, abs(u) - 0.5)


LOSSES: dict[str, Loss] = {
    "absolute": lambda z, y: abs(z - y).sum(),
    "quantile": lambda z, y: pt.maximum(0.9 * (y - z), -0.1 * (y - z)).sum(),
    "quantile by switch": lambda z, y: pt.switch(y > z, 0.9 * (y - z), 0.1 * (z - y)).sum(),
    "hinge": lambda z, y: pt.maximum(0.0, 1 - y * z).sum(),
    "hinge by a mask": lambda z, y: ((1 - y * z) * (y * z < 1)).sum(),
    "hinge by minimum": lambda z, y: -pt.minimum(0.0, y * z - 1).sum(),
    "huber": lambda z, y: deep(z - y).sum(),
    "concave": lambda z, y: (2 * (z - y) ** 2 - abs(z - y)).sum(),
    "clipped": lambda z, y: pt.clip(z - y, -0.3, 0.4).sum(),
    "largest": lambda z, y: (z * y).max(axis=1).sum(),
    "weston watkins": lambda z, y: pt.maximum(0, 1 + z - labelled(z, y)[:, None]).sum(),
    "crammer singer": crammer_singer,
}
CONVEX = {*LOSSES} - {"concave", "clipped"}


def of(u: Array) -> Array:
    """Return the curvature of |u|."""
    return 1 / np.maximum(np.abs(u), DELTA)


def diagonal(weights: Array) -> Array:
    return np.stack([np.diag(w) for w in weights])


def pairs(u: Array, direction: Callable[[int, int], Array]) -> Array:
    """Return sum_k (1 / 2 max(|u_k|, delta)) d_k d_k^T of each example."""
    H = np.zeros((N, K, K))
    for i in range(N):
        for k, w in enumerate(of(u[i])):
            H[i] += 0.5 * w * np.outer(direction(i, k), direction(i, k))
    return H


def expected(name: str, z: Array, y: Array) -> Array:
    """Return the Hessians (N, K, K) of the majoriser by its formulas."""
    label, unit = (y[:, 0] > 0).astype(int), np.eye(K)
    chosen = z[np.arange(N), label]
    if name == "largest":
        u = z * y - (z * y).max(axis=1, keepdims=True)
        best = np.argmax(z * y, axis=1)
        return pairs(u, lambda i, k: unit[k] * y[i, k] - unit[best[i]] * y[i, best[i]])
    if name == "weston watkins":
        u = 1 + z - chosen[:, None]
        return pairs(u, lambda i, k: unit[k] - unit[label[i]])
    if name == "crammer singer":
        others = np.where(unit[label] > 0, -np.inf, z)
        best = np.argmax(others, axis=1)
        margin = 1 + others.max(axis=1) - chosen
        outer = [np.outer(d, d) for d in unit[best] - unit[label]]
        H = np.stack([0.5 * of(m) * o for m, o in zip(margin, outer, strict=True)])
        # the maximum, delta / 4 above its value where it is tangent, counts with the slope of the
        # positive part's majoriser
        slope = 0.5 * (1 + (margin + DELTA / 4) * of(margin))
        for i in range(N):
            for k in set(range(K)) - {int(label[i])}:
                d = unit[k] - unit[best[i]]
                H[i] += slope[i] * 0.5 * of(z[i, k] - z[i, best[i]]) * np.outer(d, d)
        return H
    r = z - y
    weights = {
        "absolute": of(r),
        "quantile": 0.5 * of(r),
        "quantile by switch": 0.5 * of(r),
        "huber": np.where(np.abs(r) < 1, 1.0, of(r)),
        "concave": 4 - of(r),
    }
    if name == "clipped":
        low, high = r + 0.3, np.maximum(r, -0.3) - 0.4
        # each bound's majoriser has a slope, which is 0 or 1 but within delta of the bound
        inner, slope = 0.5 * (1 + low * of(low)), 0.5 * (1 - high * of(high))
        return diagonal(slope * 0.5 * of(low) - 0.5 * of(high) * inner**2)
    return diagonal(weights[name] if name in weights else 0.5 * y**2 * of(1 - y * z))


def traced(loss: Loss, **options: object) -> tuple[kfgn.LayerGraph, list[TensorVariable]]:
    """Return the graph of a loss of a linear layer, and its two inputs: z is the first."""
    W = pytensor.shared(np.eye(K), name="W")
    x, y = pt.matrix("x"), pt.matrix("y")
    return kfgn.trace_layers(loss(x @ W, y), [W], **options), [x, y]


def drawn(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return outputs and targets, one of which is fitted to less than delta."""
    z, y = 1.5 * rng.normal(size=(N, K)), rng.normal(size=(N, K))
    z[0, 0] = y[0, 0] + DELTA / 3
    return z, y


def semidefinite(H: Array, treatment: Callable[[Array], Array]) -> Array:
    values, vectors = np.linalg.eigh(H)
    return (vectors * treatment(values)[:, None, :]) @ vectors.transpose(0, 2, 1)


def check_head(
    graph: kfgn.LayerGraph, inputs: list[TensorVariable], data: object, H: Array, psd: Array
) -> None:
    """Compare a head's verbs with the Hessians of the examples."""
    head, direction = find_head(graph), pt.matrix("direction")
    found = [head.hessians(), head.psd_hessians(), head.summed_hessian(), head.square_root(0, K)]
    function = in_python([*inputs, direction], [*found, head.curvature_times(direction)])
    u = np.linspace(-1, 1, N * K).reshape(N, K)
    hessians, nearest, total, root, product = function(*data, u)
    assert_close(hessians, H, EXACT)
    assert_close(nearest, psd, EXACT)
    assert_close(total, psd.sum(axis=0), EXACT)
    assert_close(np.einsum("kri,krj->rij", root, root), psd, EXACT)
    assert_close(product, np.einsum("rij,rj->ri", psd, u), EXACT)


@pytest.mark.parametrize("name", LOSSES)
def test_the_majoriser_has_the_weights_of_least_squares(
    name: str, rng: np.random.Generator
) -> None:
    data = drawn(rng)
    graph, inputs = traced(LOSSES[name], surrogate=kfgn.Majoriser(DELTA))
    H = expected(name, *data)
    check_head(graph, inputs, data, H, semidefinite(H, lambda v: np.maximum(v, 0)))


@pytest.mark.parametrize("name", sorted(CONVEX))
def test_the_majoriser_is_above_the_loss(name: str, rng: np.random.Generator) -> None:
    graph, (x, y) = traced(LOSSES[name], surrogate=kfgn.Majoriser(1e-9))
    gradient = pytensor.grad(graph.loss, graph.output)
    function = in_python([x, y], [graph.loss, gradient, find_head(graph).hessians()])
    z, t = drawn(rng)
    loss, g, H = function(z, t)
    for scale in (0.01, 0.3, 3.0):
        for _ in range(5):
            d = scale * rng.normal(size=z.shape)
            model = loss + (g * d).sum() + 0.5 * np.einsum("ri,rij,rj", d, H, d)
            assert function(z + d, t)[0] <= model + 1e-12


def weighted(name: str) -> Loss:
    """Return a loss with the weight y[:, 0], of either sign, for each example."""

    def loss(z: TensorVariable, y: TensorVariable) -> TensorVariable:
        w = y[:, 0]
        logs = pt.special.log_softmax(z, axis=1)[:, 1]
        return {
            "squared": (w[:, None] * (z - y) ** 2).sum(),
            "policy": -(w * logs).sum(),
            "bernoulli": (w[:, None] * (pt.softplus(z) - z)).sum(),
            "generic": (w * pt.exp(z[:, 0] * z[:, 1]) * z[:, 2] ** 2).sum(),
        }[name]

    return loss


@pytest.mark.parametrize("name", ["squared", "policy", "bernoulli", "generic"])
def test_absolute_curvature_is_that_of_each_eigenvalue(
    name: str, rng: np.random.Generator
) -> None:
    z, y = drawn(rng)
    graph, inputs = traced(weighted(name), surrogate="absolute")
    cut = pt.matrix("cut")
    first = pytensor.grad(weighted(name)(cut, inputs[1]), cut)
    rows = [pytensor.grad(first[:, k].sum(), cut, disconnected_inputs="ignore") for k in range(K)]
    H = np.stack(in_python([cut, inputs[1]], rows)(z, y), axis=1)
    assert np.linalg.eigvalsh(H).min() < -0.1
    check_head(graph, inputs, (z, y), H, semidefinite(H, np.abs))


def test_absolute_curvature_of_independent_outputs(rng: np.random.Generator) -> None:
    x, y = pt.matrix("x"), pt.matrix("y")
    V = pytensor.shared(np.eye(K)[:, 1:], name="V", shape=(K, 2))
    W = pytensor.shared(np.eye(K), name="W", shape=(K, K))
    a, b = x @ V, x @ W
    loss = (y[:, 1:] * (a - 1) ** 2).sum() + (y * pt.exp(b)).sum()
    graph = kfgn.trace_layers(loss, [V, W], surrogate="absolute")
    head = find_head(graph)
    assert head.name == "sum of independent losses"
    data = drawn(rng)
    H = in_python([x, y], head.psd_hessians())(*data)
    z, t = data
    assert_close(H, diagonal(np.abs(np.hstack([t * np.exp(z), 2 * t[:, 1:]]))), EXACT)


def quantile_problem(rng: np.random.Generator) -> tuple[Array, Array, float]:
    """Return inputs, targets, and the least quantile loss of a linear model."""
    x = rng.normal(size=(40, 3))
    y = x @ [1.0, -2.0, 0.5] + rng.standard_t(2, size=40)
    A = np.hstack([x, np.ones((40, 1))])
    cost = np.concatenate([np.zeros(4), np.full(40, 0.9), np.full(40, 0.1)]) / 40
    equal = np.hstack([A, np.eye(40), -np.eye(40)])
    bounds = [(None, None)] * 4 + [(0, None)] * 80
    return x, y[:, None], linprog(cost, A_eq=equal, b_eq=y, bounds=bounds).fun


def linear_quantile(**options: object) -> kfgn.Update:
    x, y = pt.matrix("x", shape=(None, 3)), pt.matrix("y", shape=(None, 1))
    W = pytensor.shared(np.zeros((3, 1)), name="W", shape=(3, 1))
    b = pytensor.shared(np.zeros(1), name="b", shape=(1,))
    error = y - (x @ W + b)
    loss = pt.maximum(0.9 * error, -0.1 * error).mean()
    return kfgn.compile_update(loss, [W, b], [x, y], backend="jax", **options)


@pytest.mark.thorough
def test_quantile_regression_comes_near_the_solution_of_the_linear_program(
    rng: np.random.Generator,
) -> None:
    x, y, least = quantile_problem(rng)
    update = linear_quantile(surrogate="majoriser")
    reports = [update(x, y) for _ in range(60)]
    assert not any(r.flat or r.skipped for r in reports)
    assert reports[-1].loss < 1.02 * least
    assert "elementwise" in update.explain()
    assert "curvature: a majoriser, 1 / max(|u|, 0.001) for each |u|" in update.explain()


@pytest.mark.thorough
def test_a_loss_without_curvature_is_told_when_it_is_compiled(rng: np.random.Generator) -> None:
    with pytest.warns(kfgn.ZeroCurvatureWarning, match='piecewise linear.*"majoriser"') as caught:
        update = linear_quantile()
    assert [w.filename for w in caught] == [__file__]
    x, y, _ = quantile_problem(rng)
    assert update(x, y).flat  # and told only once


@pytest.mark.thorough
def test_curvature_that_is_absent_at_first_is_told_at_the_first_update(
    rng: np.random.Generator,
) -> None:
    x, y = pt.matrix("x", shape=(None, 3)), pt.matrix("y", shape=(None, 1))
    W = pytensor.shared(np.zeros((3, 1)), name="W")
    update = kfgn.compile_update(deep(x @ W - y).mean(), [W], [x, y], backend="jax")
    data = rng.normal(size=(20, 3))
    with pytest.warns(kfgn.ZeroCurvatureWarning, match='first update.*"absolute"') as caught:
        assert update(data, data[:, :1] + 50).flat
    assert [w.filename for w in caught] == [__file__]
    assert not update(data, data[:, :1]).flat
    update(data, data[:, :1] + 50)  # and told only once


@pytest.mark.parametrize(
    ("surrogate", "match"),
    [
        ("majorizer", "majoriser, absolute"),
        (1e-3, "not a surrogate"),
        ("majoriser", "finds no kink"),
    ],
)
def test_a_surrogate_that_does_not_fit_is_refused(surrogate: object, match: str) -> None:
    graph = None
    with pytest.raises(kfgn.SpecError, match=match):
        graph, _ = traced(lambda z, y: ((z - y) ** 2).sum(), surrogate=surrogate)
        find_head(graph)
    assert (graph is None) == (surrogate != "majoriser")


@pytest.mark.parametrize("delta", [0.0, -1.0, np.nan, "x"])
def test_delta_is_positive(delta: object) -> None:
    with pytest.raises(kfgn.SpecError, match="delta"):
        kfgn.Majoriser(delta)
