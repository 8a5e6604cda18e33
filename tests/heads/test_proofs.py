"""Masked and weighted losses: the curvature holds for all arguments, and is never negative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph.heads import (
    BernoulliHead,
    DiagonalHead,
    SoftmaxHead,
    SquaredErrorHead,
    find_head,
)
from kfgn_graph.linalg.random import Draws
from tests.harness import assert_close, in_python
from tests.heads.test_heads import Graph, semidefinite_part
from tests.reference.output_curvature import gauss_newton
from tests.tolerances import EXACT

N, K = 12, 3


def bernoulli(z: Any, y: Any) -> Any:
    return pt.softplus(z) - y * z


def naive(z: Any, y: Any) -> Any:
    return -(y * pt.log(pt.sigmoid(z)) + (1 - y) * pt.log(1 - pt.sigmoid(z)))


def log_beyond_5(z: Any, t: Any) -> Any:
    r = abs(z - t)
    return pt.switch(r < 5, 0.5 * r**2, 12.5 + 25 * pt.log(r / 5))


def chosen(z: Any, y: Any) -> Any:
    return pt.special.log_softmax(z, axis=1)[pt.arange(y.shape[0]), pt.maximum(y[:, 0], 0)]


def dense(z: np.ndarray, kind: str, weight: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the Hessians (N, K, K) by a loop over examples."""
    e = np.exp(z)
    p, q, r = e / (1 + e), e / e.sum(axis=1, keepdims=True), np.abs(z - t)
    diagonals = {
        "bernoulli": p * (1 - p),
        "squared": np.full_like(z, 2.0),
        "log": np.where(r < 5, 1.0, -25 / r**2),
    }
    if kind == "softmax":
        return np.stack(
            [w * (np.diag(a) - np.outer(a, a)) for w, a in zip(weight, q, strict=True)]
        )
    return np.stack([np.diag(d) for d in weight * diagonals[kind]])


#: The head, its second derivative, the weight (y, t, a) in NumPy, and the loss (z, y, t, a).
CASES: dict[str, tuple[type, str, Callable[..., Any], Callable[..., Any]]] = {
    "masked": (
        BernoulliHead,
        "bernoulli",
        lambda y, t, a: (y >= 0) / y.size,
        lambda z, y, t, a: pt.switch(pt.eq(y, -1), 0.0, bernoulli(z, y)).mean(),
    ),
    "mask_times": (
        BernoulliHead,
        "bernoulli",
        lambda y, t, a: (y >= 0) / N,
        lambda z, y, t, a: (pt.neq(y, -1) * naive(z, y)).sum(axis=1).mean(),
    ),
    "by_label": (
        BernoulliHead,
        "bernoulli",
        lambda y, t, a: np.where(y == 1, 5.0, 1.0) * a[:, None],
        lambda z, y, t, a: (a[:, None] * pt.switch(pt.eq(y, 1.0), 5, 1) * bernoulli(z, y)).sum(),
    ),
    "by_side": (
        BernoulliHead,
        "bernoulli",
        lambda y, t, a: y * 3.0 + (1 - y),
        lambda z, y, t, a: (3 * y * pt.softplus(-z) + (1 - y) * pt.softplus(z)).sum(),
    ),
    "flat": (
        BernoulliHead,
        "bernoulli",
        lambda y, t, a: t,
        lambda z, y, t, a: (t.flatten() * bernoulli(z.flatten(), y.flatten())).sum(),
    ),
    "squared": (
        SquaredErrorHead,
        "squared",
        lambda y, t, a: (y >= 0) * a[:, None],
        lambda z, y, t, a: (a[:, None] * pt.switch(pt.eq(y, -1), 0.0, (z - t) ** 2)).sum(),
    ),
    "squared_modulus": (
        SquaredErrorHead,
        "squared",
        lambda y, t, a: np.ones(y.shape) * (1 + a[:, None]),
        lambda z, y, t, a: (abs(z - t) ** 2 + a[:, None] * (abs(z - t) * abs(z - t))).sum(),
    ),
    "far_square": (
        DiagonalHead,
        "log",
        lambda y, t, a: 1.0,
        lambda z, y, t, a: log_beyond_5(z, t).sum(),
    ),
    "mask_of_z": (
        DiagonalHead,
        "squared",
        lambda y, t, a: 1.0 * (t < 9),
        lambda z, y, t, a: ((abs(z) < 50) * (t < 9) * (z - t) ** 2).sum(),
    ),
    "policy": (
        SoftmaxHead,
        "softmax",
        lambda y, t, a: a / N,
        lambda z, y, t, a: -(a * chosen(z, y)).mean(),
    ),
    "ignored": (
        SoftmaxHead,
        "softmax",
        lambda y, t, a: (y[:, 0] >= 0) * a,
        lambda z, y, t, a: -(a * pt.switch(pt.eq(y[:, 0], -1), 0.0, chosen(z, y))).sum(),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_masks_and_weights_of_either_sign(name: str, rng: np.random.Generator) -> None:
    kind, derivative, weight, loss = CASES[name]
    z, y, t, a = pt.matrix("z"), pt.lmatrix("y"), pt.matrix("t"), pt.vector("a")
    W = pytensor.shared(np.eye(K), name="W")
    head = find_head(kfgn.trace_layers(loss(z @ W, y, t, a), [W]))
    assert type(head) is kind
    targets = (rng.integers(-1, 2, (N, K)), 9 * rng.normal(size=(N, K)), rng.normal(size=N))
    values = rng.normal(size=(N, K))
    true = dense(values, derivative, weight(*targets), targets[1])
    Graph(head, [y, t, a]).verbs().check(true, values, targets, rng)


@pytest.mark.parametrize("name", ["by_label", "squared", "policy"])
def test_random_columns_of_negative_curvature_are_zero(
    name: str, rng: np.random.Generator
) -> None:
    loss = CASES[name][-1]
    z, y, t, a = pt.matrix("z"), pt.lmatrix("y"), pt.matrix("t"), pt.vector("a")
    W = pytensor.shared(np.eye(K), name="W")
    head = find_head(kfgn.trace_layers(loss(z @ W, y, t, a), [W]))
    columns = head.sampled(Draws(pt.constant(np.uint32(3))), 2)
    targets = (rng.integers(-1, 2, (N, K)), rng.normal(size=(N, K)), rng.normal(size=N))
    (found,) = in_python([head.output, y, t, a], [columns])(rng.normal(size=(N, K)), *targets)
    assert np.isfinite(found).all()
    assert not found[:, targets[2] < 0].any()
    assert found[:, targets[2] > 0].any()


@pytest.mark.parametrize("method", [kfgn.KFRA(), kfgn.KFLR(), kfgn.KFAC()], ids=str)
def test_factors_of_signed_weights_are_positive_semidefinite(
    method: Any, rng: np.random.Generator
) -> None:
    x, y, t, a = pt.matrix("x"), pt.lmatrix("y"), pt.matrix("t"), pt.vector("a")
    data = (rng.normal(size=(N, 4)), *(rng.integers(0, 2, (N, K)), rng.normal(size=(N, K))))
    weights = rng.normal(size=N)
    for name in ("policy", "squared", "by_label"):
        W = pytensor.shared(rng.normal(size=(4, K)), name="W")
        graph = kfgn.trace_layers(CASES[name][3](x @ W, y, t, a), [W])
        (factors,) = kfgn.curvature_factors(graph, method).values()
        (G,) = in_python([x, y, t, a], [factors.G])(*data, weights)
        if not isinstance(method, kfgn.KFAC):
            _, derivative, weight, _ = CASES[name]
            w = weight(*data[1:], weights)
            true = dense(data[0] @ W.get_value(), derivative, w, data[2])
            assert_close(G, semidefinite_part(true).sum(axis=0), EXACT)
        assert np.linalg.eigvalsh(G).min() > -EXACT


#: Losses (m, z, y, w) for targets y (N, K) and weights w (N,), written for PyTensor and JAX.
WRITTEN: dict[str, Callable[..., Any]] = {
    "product": lambda m, z, y, w: ((m.prod(z - y, axis=1) - 1) ** 2).mean(),
    "margin": lambda m, z, y, w: (m.max(z + 1 - y, axis=1) - (y * z).sum(axis=1)).mean(),
    "largest output": lambda m, z, y, w: (m.max(z, axis=1) ** 2).mean(),
    "inner product": lambda m, z, y, w: m.dot(w, m.sqrt(((z - y) ** 2).sum(axis=1) + 0.1)),
    "inner product, swapped": lambda m, z, y, w: m.dot(m.exp(z).sum(axis=1), w) / w.sum(),
}


@pytest.mark.parametrize("place", ["input", "shared", "constant"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_loss_has_one_curvature_wherever_its_targets_are(
    name: str, place: str, rng: np.random.Generator
) -> None:
    X, Y, v = rng.normal(size=(N, 2)), rng.normal(size=(N, K)), rng.normal(size=(2, K))
    weights = np.abs(rng.normal(size=N))
    W = pytensor.shared(rng.normal(size=(2, K)), name="W", shape=(2, K))
    data = {"input": pt.matrix("y"), "shared": pytensor.shared(Y), "constant": pt.constant(Y)}
    x, y, w = pt.matrix("x"), data[place], pt.vector("w")
    graph = kfgn.trace_layers(WRITTEN[name](pt, x @ W, y, w), [W])
    product = kfgn.gauss_newton_product(graph, [pt.constant(v)])
    (found,) = in_python([x, data["input"], w], product)(X, Y, weights)

    def loss_of(z: list[jax.Array]) -> jax.Array:
        return WRITTEN[name](jnp, z[0], Y, weights)

    wanted = gauss_newton(lambda p: [X @ p], loss_of, [W.get_value()]) @ v.ravel()
    assert_close(found.ravel(), wanted, EXACT)


def test_a_product_over_an_undeclared_length_has_no_curvature_rule() -> None:
    x, W = pt.matrix("x"), pytensor.shared(np.ones((2, K)), name="W")
    graph = kfgn.trace_layers(((pt.prod(x @ W, axis=1) - 1) ** 2).mean(), [W])
    for curvature in (
        lambda: kfgn.curvature_factors(graph, kfgn.KFLR()),
        lambda: kfgn.gauss_newton_product(graph, [W]),
    ):
        with pytest.raises(kfgn.CurvatureRuleNotFound, match=r"(?s)second derivative.*length"):
            curvature()
