"""A parameter that no layer explains moves by gradient steps, or an error names it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from tests.harness import MODES, assert_close, in_python
from tests.stepping import on_backends
from tests.tolerances import EXACT

pytestmark = pytest.mark.thorough

N, D = 12, 4


def parameters(dtype: str = "float64", **shapes: tuple[int, ...]) -> dict[str, Any]:
    r = np.random.default_rng(0)
    return {
        name: pytensor.shared(np.asarray(r.normal(size=s) / 2, dtype), name=name)
        for name, s in shapes.items()
    }


def tied_autoencoder(x: Any, y: Any) -> tuple[Any, dict[str, Any], set[str]]:
    p = parameters(W=(D, 3), b=(3,), V=(3, 2), d=(2,), U=(2, 3), e=(3,), c=(D,))
    h = pt.tanh(pt.tanh(x @ p["W"] + p["b"]) @ p["V"] + p["d"])
    z = pt.tanh(h @ p["U"] + p["e"]) @ p["W"].T + p["c"]
    return ((z - x) ** 2).sum(axis=1).mean(), p, {"W", "b", "c"}


def noise_scale(x: Any, y: Any) -> tuple[Any, dict[str, Any], set[str]]:
    p = parameters(W=(D, 1), s=())
    return (0.5 * ((y - x @ p["W"]) * pt.exp(-p["s"])) ** 2 + p["s"]).mean(), p, {"s"}


def single_noise_scale(x: Any, y: Any) -> tuple[Any, dict[str, Any], set[str]]:
    p = parameters("float32", W=(D, 1), s=())
    return (0.5 * ((y - x @ p["W"]) * pt.exp(-p["s"])) ** 2 + p["s"]).mean(), p, {"s"}


def scaled_hidden(x: Any, y: Any) -> tuple[Any, dict[str, Any], set[str]]:
    p = parameters(W=(D, 3), g=(3,), V=(3, 1), t=())
    z = (pt.tanh(x @ p["W"]) * p["g"]) @ p["V"]
    return (((z - y) * pt.exp(-p["t"])) ** 2).mean() + p["t"], p, {"g", "t"}


@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize(
    ("network", "method"),
    [
        (tied_autoencoder, kfgn.KFLR()),
        (noise_scale, kfgn.KFLR()),
        (single_noise_scale, kfgn.HessianFree()),
        (scaled_hidden, kfgn.HessianFree(block=True)),
    ],
    ids=["tied", "scale", "float32 scale", "hidden scale"],
)
def test_every_parameter_moves(network: Any, method: Any, backend: str) -> None:
    x, y = pt.matrix("x", shape=(None, D)), pt.matrix("y", shape=(None, 1))
    loss, p, unmatched = network(x, y)
    inputs = [v for v in (x, y) if v in pytensor.graph.traversal.ancestors([loss])]
    update = kfgn.compile_update(
        loss, list(p.values()), inputs, unmatched="gradient", method=method, backend=backend
    )
    X = np.random.default_rng(1).normal(size=(N, D))
    batch = [X, X[:, :1] - 0.5 * X[:, 1:2]][: len(inputs)]
    before = {name: np.array(v.get_value()) for name, v in p.items()}
    stats = [update(*batch) for _ in range(10)]
    assert all((np.asarray(v.get_value()) != before[name]).any() for name, v in p.items())
    assert float(stats[-1].loss) < float(stats[0].loss)
    assert {v.name for v in update.graph.unmatched} == unmatched
    lines = update.explain().splitlines()
    assert {
        name for name in p if any(f"'{name}': gradient" in line for line in lines)
    } == unmatched


def test_a_gradient_step_is_the_negative_gradient() -> None:
    """With a step of one, the noise scale moves by its gradient."""
    x, y = pt.matrix("x", shape=(None, D)), pt.matrix("y", shape=(None, 1))
    loss, p, _ = noise_scale(x, y)
    X = np.random.default_rng(1).normal(size=(N, D))
    Y = X[:, :1] + 1.0
    W, s = p["W"].get_value(), float(p["s"].get_value())
    gradient = 1 - np.mean((Y - X @ W) ** 2) * np.exp(-2 * s)
    update = kfgn.compile_update(
        loss,
        list(p.values()),
        [x, y],
        unmatched="gradient",
        backend="jax",
        step=1.0,
        damping=kfgn.ConstantDamping(0.1),
    )
    update(X, Y)
    assert_close(np.asarray(p["s"].get_value()), np.asarray(s - gradient), EXACT)


def test_nothing_matched_is_an_error() -> None:
    x, p = pt.matrix("x", shape=(None, D)), parameters(W=(D, 2), b=(2,), c=(D,))
    z = pt.tanh(x @ p["W"] + p["b"]) @ p["W"].T + p["c"]
    with pytest.raises(kfgn.UnmatchedParameterError, match="no parameter is the weight"):
        kfgn.trace_layers(((z - x) ** 2).mean(), list(p.values()), unmatched="gradient")


@pytest.mark.parametrize("treatment", ["error", "gradient"])
def test_a_parameter_without_gradient_is_an_error(treatment: str) -> None:
    x, p = pt.matrix("x", shape=(None, D)), parameters(W=(D, 2), threshold=())
    z = x @ p["W"]
    loss = pt.switch(z > p["threshold"], z**2, 0.5 * z**2).mean()
    with pytest.raises(kfgn.UnmatchedParameterError, match="threshold"):
        kfgn.trace_layers(loss, list(p.values()), unmatched=treatment)


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_the_last_layer_alone_without_static_shapes(backend: str) -> None:
    """The frozen layers are shared variables whose shapes the graph does not state."""
    r = np.random.default_rng(0)
    values = {"F": r.normal(size=(D, 5)), "f": r.normal(size=5), "W": r.normal(size=(5, 2))}
    values["b"] = np.zeros(2)
    p = {name: pytensor.shared(v, name=name) for name, v in values.items()}
    x, y = pt.matrix("x"), pt.matrix("y")
    z = pt.tanh(x @ p["F"] + p["f"]) @ p["W"] + p["b"]
    loss = ((z - y) ** 2).sum(axis=1).mean()
    update = kfgn.compile_update(loss, [p["W"], p["b"]], [x, y], backend=backend)
    X = r.normal(size=(300, D))
    Y = r.normal(size=(300, 2))
    losses = [float(update(X, Y).loss) for _ in range(12)]
    a = np.column_stack([np.tanh(X @ values["F"] + values["f"]), np.ones(300)])
    least = ((a @ np.linalg.lstsq(a, Y)[0] - Y) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(losses[-1], least, rtol=1e-3)


def test_a_frozen_layer_of_another_width_is_compiled_anew() -> None:
    """On JAX the compiled function is specific to the shapes of all shared variables."""
    r = np.random.default_rng(0)
    F, G = (pytensor.shared(r.normal(size=s)) for s in ((D, 5), (5, 3)))
    W = pytensor.shared(r.normal(size=(3, 1)), name="W")
    x, y = pt.matrix("x"), pt.matrix("y")
    loss = ((pt.tanh(x @ F) @ G @ W - y) ** 2).mean()
    update = kfgn.compile_update(loss, [W], [x, y], backend="jax")
    X, Y = r.normal(size=(N, D)), r.normal(size=(N, 1))
    update(X, Y)
    F.set_value(r.normal(size=(D, 7)))
    G.set_value(r.normal(size=(7, 3)))
    value = np.mean(
        (np.tanh(X @ F.get_value()) @ G.get_value() @ np.asarray(W.get_value()) - Y) ** 2
    )
    np.testing.assert_allclose(float(update(X, Y).loss), value)


@pytest.mark.parametrize("shape", [(1,), (1, 1), ()])
def test_one_bias_for_several_outputs_is_no_bias_of_a_layer(shape: tuple[int, ...]) -> None:
    x, W = pt.matrix("x"), parameters(W=(D, 3))["W"]
    b = pytensor.shared(np.full(shape, 0.5), name="b", shape=shape)
    loss = (pt.tanh(x @ W + b) ** 2).sum(axis=1).mean()
    layers = kfgn.trace_layers(loss, [W, b]).layers
    assert [(each.weight, each.bias) for each in layers] == [(W, None), (b, None)]
    graph = kfgn.trace_layers(loss, [W, b], unmatched="gradient")
    assert list(graph.unmatched) == [b]
    X = np.random.default_rng(1).normal(size=(N, D))
    found, wanted = in_python([x], [pytensor.grad(graph.loss, b), pytensor.grad(loss, b)])(X)
    assert found.shape == shape
    assert_close(found, wanted, EXACT)


def test_one_bias_for_one_output_is_the_bias_of_a_layer() -> None:
    """KFLR sums over columns in a loop, since W declares no width."""
    x, W = pt.matrix("x"), pytensor.shared(np.ones((D, 1)), name="W")
    b = pytensor.shared(np.zeros(1), name="b", shape=(1,))
    graph = kfgn.trace_layers(((x @ W + b) ** 2).mean(), [W, b])
    (layer,) = graph.layers
    assert layer.bias is b
    G = kfgn.curvature_factors(graph, kfgn.KFLR())[layer].G
    assert_close(in_python([x], [G])(np.ones((N, D)))[0], np.array([[2.0]]), EXACT)
