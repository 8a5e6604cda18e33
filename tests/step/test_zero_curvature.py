"""Losses without curvature train: lambda then follows from the gradient's norm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from kfgn_graph.step.current_damping import ABSENT, first_damping
from tests.harness import MODES, compile_graph
from tests.stepping import on_backends, thorough

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore::kfgn_graph.ZeroCurvatureWarning"),
]

N, D, UPDATES = 40, 3, 60
RATIO = kfgn.LevenbergMarquardt().initial_ratio
Loss = Callable[[TensorVariable, TensorVariable], TensorVariable]


def absolute(z: TensorVariable, y: TensorVariable) -> TensorVariable:
    return abs(z - y).mean()


def quantile(z: TensorVariable, y: TensorVariable) -> TensorVariable:
    return pt.maximum(0.9 * (y - z), -0.1 * (y - z)).mean()


def huber(z: TensorVariable, y: TensorVariable) -> TensorVariable:
    r = abs(z - y)
    return pt.switch(r < 1, 0.5 * r**2, r - 0.5).mean()


def cauchy(z: TensorVariable, y: TensorVariable) -> TensorVariable:
    return pt.log1p((z - y) ** 2).mean()


def hinge(z: TensorVariable, y: TensorVariable) -> TensorVariable:
    return pt.maximum(0.0, 1 - y * z).mean()


def poisson(z: TensorVariable, y: TensorVariable) -> TensorVariable:
    return (pt.softplus(z) - y * pt.log(pt.softplus(z))).mean()


LOSSES: dict[str, Loss] = {f.__name__: f for f in (absolute, quantile, huber, cauchy, hinge)}
LOSSES["poisson"] = poisson


def task(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs, and targets at which the loss has no curvature at first."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, D))
    y = x @ [[1.0], [-2.0], [0.5]] + 0.3
    targets = {"huber": y + 50, "cauchy": y + 50, "hinge": np.sign(y), "poisson": 0 * y}
    return x, targets.get(name, y)


def compiled(name: str, **settings: object) -> tuple[kfgn.Update, list[object]]:
    """Return the update of a linear model with a loss."""
    x, y = pt.matrix("x", shape=(None, D)), pt.matrix("y", shape=(None, 1))
    W = pytensor.shared(np.full((D, 1), 0.01), name="W", shape=(D, 1))
    b = pytensor.shared(np.zeros(1), name="b", shape=(1,))
    settings = {"backend": "jax"} | settings
    return kfgn.compile_update(LOSSES[name](x @ W + b, y), [W, b], [x, y], **settings), [W, b]


def assert_trains(name: str, share: float, **settings: object) -> None:
    """Take sixty updates, and compare the last loss with a share of the first."""
    update, _ = compiled(name, **settings)
    reports = [update(*task(name)) for _ in range(UPDATES)]
    assert reports[-1].loss < share * reports[0].loss
    assert not any(r.skipped for r in reports)
    assert sum(r.rejected for r in reports) < UPDATES / 2
    assert all(r.damping > 0 for r in reports)
    assert update.state()["damping"] > 0


@pytest.mark.parametrize(
    "name",
    ["absolute", *(thorough(n) for n in ("quantile", "huber", "cauchy", "hinge", "poisson"))],
)
def test_a_loss_without_curvature_trains_by_the_defaults(name: str) -> None:
    assert_trains(name, share=0.9 if name == "poisson" else 0.5)


@pytest.mark.thorough
@pytest.mark.parametrize("loss", ["absolute", "huber"])
@pytest.mark.parametrize(
    "settings",
    [
        {"l2": 1e-2},
        {"method": kfgn.HessianFree()},
        {"method": kfgn.HessianFree(), "l2": 1e-2},
        {"method": kfgn.KFLR()},
        {"method": kfgn.KFAC()},
        {"method": kfgn.KFLR(), "inverse": "ekfac"},
        {"inverse": "eigh"},
        {"inverse": "newton-schulz"},
        {"damping": kfgn.LevenbergMarquardt(gamma="search")},
    ],
    ids=["l2", "hf", "hf_l2", "kflr", "kfac", "ekfac", "eigh", "newton_schulz", "search"],
)
def test_it_trains_by_every_method(loss: str, settings: dict[str, object]) -> None:
    assert_trains(loss, share=0.6, **settings)


@pytest.mark.parametrize("backend", on_backends(name for name in MODES if name != "jax"))
def test_it_trains_on_every_backend(backend: str) -> None:
    assert_trains("absolute", share=0.5, backend=backend)


@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_the_first_step_is_the_gradient_s_over_lambda(l2: float) -> None:
    update, (W, b) = compiled("absolute", method=kfgn.HessianFree(), l2=l2)
    x, y = task("absolute")
    theta = np.concatenate([W.get_value().ravel(), b.get_value()])
    ones = np.hstack([x, np.ones((N, 1))])
    signs = np.sign(ones @ theta - y[:, 0])
    gradient = ones.T @ signs / N + l2 * theta
    stats = update(x, y)
    damping = RATIO * np.linalg.norm(gradient)
    assert stats.damping == pytest.approx(damping)
    assert not stats.rejected
    moved = np.concatenate([W.get_value().ravel(), b.get_value()])
    np.testing.assert_allclose(moved - theta, -gradient / (damping + l2), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_lambda_is_continuous_and_unchanged_where_there_is_curvature(dtype: str) -> None:
    c, s = pt.scalar("c", dtype=dtype), pt.scalar("s", dtype=dtype)
    rule = kfgn.LevenbergMarquardt(initial_ratio=1.0)
    function = compile_graph(
        [c, s],
        first_damping(
            rule, c, pt.constant(np.ones((), dtype)), pt.constant(np.asarray(np.inf, dtype)), s
        ),
    )

    def found(curvature: float, slope: float) -> float:
        return float(function(np.asarray(curvature, dtype), np.asarray(slope, dtype)))

    for slope in (0.0, 1e-3, 1.0, 1e9):
        for curvature in (1e-30, 1e-6, 0.25, 1.0, 1e20, 1e30):
            if curvature >= ABSENT * slope:
                assert found(curvature, slope) == np.asarray(curvature, dtype)
    assert found(0, 3) == 3
    assert found(0, 0) == 0
    grid = [found(t * ABSENT, 1) for t in np.linspace(0, 2, 201)]
    assert np.abs(np.diff(grid)).max() <= 0.011
    assert min(grid) > 0


def test_the_scale_of_the_loss_does_not_matter_without_curvature() -> None:
    ends = []
    for scale in (1.0, 2.0**20):
        x, y = pt.matrix("x", shape=(None, D)), pt.matrix("y", shape=(None, 1))
        W = pytensor.shared(np.full((D, 1), 0.01), name="W", shape=(D, 1))
        loss = scale * absolute(x @ W, y)
        method = kfgn.HessianFree()  # gamma has a unit where G is 0
        update = kfgn.compile_update(loss, [W], [x, y], method=method, backend="jax")
        for _ in range(8):
            update(*task("absolute"))
        ends.append(W.get_value())
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-6)


def test_a_batch_without_curvature_and_gradient_leaves_lambda_to_the_next() -> None:
    x, y = task("hinge")
    (first, theirs), (second, ours) = compiled("hinge"), compiled("hinge")
    for v in (*theirs, *ours):
        v.set_value(np.full(v.get_value().shape, 0.01))
    stats = second(np.zeros((N, D)), np.full((N, 1), 1e3))  # beyond the margin: y z = 10
    assert not stats.skipped
    assert stats.update_norm == 0
    assert second(x, y).damping == first(x, y).damping > 0


def test_batches_without_a_gradient_leave_lambda() -> None:
    x, y = task("hinge")
    update, (_, b) = compiled("hinge")
    for _ in range(3):
        update(x, y)
    b.set_value(np.ones(1))
    state = update.state()
    update.load_state(state | {k: 0 * v for k, v in state.items() if k.startswith("previous")})
    with pytest.warns(kfgn.StalledTrainingWarning, match="length 0"):
        for _ in range(100):
            stats = update(np.zeros((N, D)), np.full((N, 1), 2.0))  # beyond the margin
            assert not stats.skipped
            assert stats.update_norm == 0
    assert update.state()["damping"] == state["damping"]
