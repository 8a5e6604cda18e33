"""Training goes on: what is not finite, singular, dead or badly scaled does not end it."""

from __future__ import annotations

import warnings

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from tests.cases import Case, Problem, build
from tests.harness import MODES, assert_close
from tests.losses import LOSSES
from tests.nets import NETS, chain
from tests.reference import kronecker
from tests.stepping import (
    DAMPING,
    assert_identical,
    case_of,
    compile_case,
    on_backends,
    state_of,
    trainer_of,
    values_of,
)
from tests.tolerances import SCALED_TRAJECTORY, TRAJECTORY

pytestmark = pytest.mark.thorough

FAILURE_FACTOR = kfgn.LevenbergMarquardt().failure_factor
ADAPTIVE: dict[str, object] = {
    "damping": kfgn.LevenbergMarquardt(),
    "step": kfgn.Rescaling(),
}


def to_single(batch: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(a.astype("float32") if a.dtype.kind == "f" else a for a in batch)


# --- what is not finite -----------------------------------------------------------------------


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_a_batch_that_is_not_finite_is_skipped_and_raises_lambda(
    backend: str, rng: np.random.Generator
) -> None:
    case = case_of("tanh", "half_rows")
    problem = build(case, case.values(rng))
    update = compile_case(problem, backend=backend, refresh_every=2, **ADAPTIVE)
    poisons = [(0, np.nan), (1, np.nan), (1, np.inf), (1, -np.inf), (1, 1e200), (0, np.inf)]
    for place, poison in poisons:
        x, y = case.batch(rng, 4)
        assert not update(x, y).skipped
        bad = (x.copy(), y.copy())
        bad[place][2, 1] = poison
        before, state = values_of(problem), state_of(update)
        stats = update(*bad)
        assert stats.skipped
        assert stats.update_norm == 0
        assert_identical(values_of(problem), before)
        after = state_of(update)
        assert (state.pop("failed"), after.pop("failed")) == (0, 1)
        assert after.pop("damping") == FAILURE_FACTOR * state.pop("damping")
        assert_identical(after, state)
    losses = [update(x, y).loss for _ in range(10)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", on_backends(MODES))
def test_batches_that_are_not_finite_lose_nothing(
    backend: str, dtype: str, rng: np.random.Generator
) -> None:
    case = case_of("tanh", "half_rows")
    values = case.values(rng)
    x, y = (a.astype(dtype) for a in case.batch(rng, 16))
    clean, dirty = (build(case, values, dtype=dtype) for _ in range(2))
    settings = {"backend": backend, "average_iterates": True, **ADAPTIVE}
    first, second = (compile_case(problem, **settings) for problem in (clean, dirty))
    row = [1] * 120
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kfgn.StalledTrainingWarning)
        for bad in [0] * 10 + row + [0] * 10 + [1, 0] * 10 + [1, 1, 0]:
            if bad:
                assert second(np.full_like(x, np.nan), y).skipped
            else:
                wanted, found = first(x, y), second(x, y)
                assert (found.skipped, found.rejected) == (False, wanted.rejected)
                assert found.damping == wanted.damping
    assert_identical(values_of(dirty), values_of(clean))
    assert_identical(state_of(second), state_of(first))


def test_lambda_recovers_from_a_batch_whose_curvature_overflows(rng: np.random.Generator) -> None:
    x = pt.matrix("x", dtype="float32", shape=(None, 2))
    W = pytensor.shared(np.full((2, 1), 0.1, "float32"), name="W", shape=(2, 1))
    loss = pt.softplus(-(x @ W)).mean()
    update = kfgn.compile_update(loss, [W], [x], backend="jax")
    good = rng.normal(size=(8, 2)).astype("float32")
    update(good)
    damping = update.state()["damping"]
    away = np.float32(1e25) * np.sign(W.get_value()).T  # its square overflows, the loss is 0
    stats = update(np.tile(away, (8, 1)))
    assert np.isfinite([stats.loss, stats.gradient_norm]).all()
    assert stats.skipped
    assert update.state()["damping"] == FAILURE_FACTOR * damping
    stats = update(good)
    assert not stats.skipped
    assert stats.damping == damping


def test_a_first_batch_that_is_not_finite_leaves_lambda_to_the_next(
    rng: np.random.Generator,
) -> None:
    case = case_of("tanh", "half_rows")
    values, (x, y) = case.values(rng), case.batch(rng, 4)
    clean, dirty = build(case, values), build(case, values)
    first, second = compile_case(clean, **ADAPTIVE), compile_case(dirty, **ADAPTIVE)
    assert second(np.full_like(x, np.nan), y).skipped
    wanted, found = first(x, y), second(x, y)
    assert found.damping == wanted.damping
    assert_identical(values_of(dirty), values_of(clean))


def logarithmic_problem(dtype: str = "float64") -> tuple[kfgn.Update, pt.TensorVariable]:
    """Return the fit of log(x w) to 0 from w = 10: the full step lands where log is NaN."""
    x = pt.tensor("x", dtype=dtype, shape=(None, 1))
    w = pytensor.shared(np.full((1, 1), 10, dtype), name="w", shape=(1, 1))
    loss = (pt.log(x @ w) ** 2).mean()
    damping = kfgn.LevenbergMarquardt(initial=1e-6)
    return kfgn.compile_update(loss, [w], [x], damping=damping, backend="jax"), w


def test_a_step_to_where_the_loss_is_nan_is_rejected() -> None:
    update, w = logarithmic_problem()
    batch = np.ones((4, 1))
    stats = update(batch)
    assert stats.rejected
    assert stats.update_norm == 0
    np.testing.assert_array_equal(w.get_value(), [[10]])
    assert update(batch).damping == pytest.approx(FAILURE_FACTOR * stats.damping)
    for _ in range(40):
        stats = update(batch)
    assert stats.loss < 1e-6


def test_a_step_that_raises_the_loss_is_rejected() -> None:
    x = pt.tensor("x", shape=(None, 1))
    w = pytensor.shared(np.full((1, 1), 2.0), name="w", shape=(1, 1))
    loss = (pt.softplus(x @ w) - 0.5 * (x @ w)).mean()  # log cosh: the full step overshoots 0
    damping = kfgn.LevenbergMarquardt(initial=1e-6)
    update = kfgn.compile_update(loss, [w], [x], damping=damping, backend="jax")
    batch = (np.full((4, 1), 2.0),)
    stats = update(*batch)
    assert stats.rejected
    assert stats.reduction_ratio < 0
    assert stats.update_norm == 0
    np.testing.assert_array_equal(w.get_value(), [[2.0]])
    reports = [update(*batch) for _ in range(30)]
    assert reports[0].damping == pytest.approx(FAILURE_FACTOR * stats.damping)
    losses = [r.loss for r in reports]
    assert np.diff(losses).max() < 1e-12  # none rises by more than rounding
    assert losses[-1] == pytest.approx(np.log(2), abs=1e-6)


# --- factorisations that fail -----------------------------------------------------------------


@pytest.mark.parametrize("refresh_every", [1, 4])
@pytest.mark.parametrize("backend", on_backends(MODES))
def test_a_factorisation_that_fails_is_tried_with_more_damping(
    backend: str, refresh_every: int, rng: np.random.Generator
) -> None:
    case = case_of("tanh", "half_rows")
    values, (x, y) = case.values(rng), case.batch(rng, 6)
    problem, trainer = build(case, values), trainer_of(case, values, "KFRA", decay=0.99)
    update = compile_case(
        problem, backend=backend, refresh_every=refresh_every, curvature_decay=0.99
    )
    _, slopes, Qs, Gs = trainer.batch_factors(x, y)
    skewed = np.diag([-0.9, 0.1, 0.5, 2.0])
    state = state_of(update)
    state |= {"count": np.asarray(1199, np.int32)}
    state |= {"factors/W0/Q": skewed, "factors/W0/G": Gs[0]}
    state |= {"factors/W1/Q": Qs[1], "factors/W1/G": Gs[1]}
    update.load_state(state)
    pairs = [(0.99 * skewed + 0.01 * Qs[0], Gs[0]), (Qs[1], Gs[1])]
    gamma, growth = np.sqrt(DAMPING), 1000
    damped = [kronecker.damped(*pair, gamma) for pair in pairs]
    assert not definite(damped[0][0])
    # the one that fails has more damping, all others what they would have
    damped[0] = kronecker.damped(*pairs[0], growth * gamma)[0], damped[0][1]
    assert definite(*damped[0])
    assert not update(x, y).skipped
    for i, ((Q, G), slope) in enumerate(zip(damped, slopes, strict=True)):
        step = -np.linalg.inv(Q) @ slope @ np.linalg.inv(G)
        moved = [values_of(problem)[f"{p}{i}"] - values[f"{p}{i}"] for p in "Wb"]
        assert_close(np.vstack(moved), step, TRAJECTORY)


def definite(*matrices: np.ndarray) -> bool:
    return all(np.linalg.eigvalsh(M).min() > 0 for M in matrices)


def test_a_factorisation_that_no_damping_saves_is_skipped(rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    problem = build(case, case.values(rng))
    update = compile_case(problem, **ADAPTIVE)
    batch = case.batch(rng, 6)
    update(*batch)
    good = state_of(update)
    update.load_state(good | {"factors/W0/Q": np.diag([-1e9, 1.0, 1.0, 1e9])})
    state = state_of(update)
    assert update(*batch).skipped
    after = state_of(update)
    assert after.pop("damping") >= FAILURE_FACTOR * state.pop("damping")
    assert (state.pop("failed"), after.pop("failed")) == (0, 2)
    learnt = [name for name in state if name.startswith("factors/")]
    before, now = ({name: s.pop(name) for name in learnt} for s in (state, after))
    assert_identical(after, state)
    # the batch entered the factors: so do the next ones, until they can be inverted again
    assert abs(now["factors/W0/Q"]).max() < abs(before["factors/W0/Q"]).max()
    update.load_state(good)
    assert not update(*batch).skipped


def test_what_a_rejected_update_learnt_of_the_curvature_stays(rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    problem = build(case, case.values(rng))
    step = kfgn.Rescaling(reject_below=1e6)  # none is that good
    update = compile_case(problem, damping=kfgn.LevenbergMarquardt(), step=step, refresh_every=2)
    first, second = case.batch(rng, 6), case.batch(rng, 6)
    assert update(*first).rejected
    before = state_of(update)
    stats = update(*second)
    assert stats.rejected
    assert not stats.skipped
    after = state_of(update)
    assert after.pop("damping") == FAILURE_FACTOR * before.pop("damping")
    learnt = [n for n in before if n.startswith(("factors/", "inverses/"))]
    pairs = {name: (before.pop(name), after.pop(name)) for name in learnt}
    assert not any(np.array_equal(*pairs[n]) for n in learnt if n.endswith("/Q"))
    assert_identical(after, before)


# --- degenerate nets and data -----------------------------------------------------------------


def degenerate(name: str, rng: np.random.Generator) -> tuple[Problem, tuple[np.ndarray, ...]]:
    """Return a net and a batch, in single precision, with something wrong about them."""
    nets = {
        "dead_units": NETS["relu"],
        "one_input_one_output": chain("ones", [1, 1, 1], "tanh"),
        "no_bias_of_ones": chain("ones_no_bias", [1, 1, 1], "tanh", "no_bias"),
        "wide": chain("wide", [3, 40, 2], "tanh"),
    }
    case = Case(nets.get(name, NETS["tanh"]), LOSSES["half_rows"])
    values = case.values(rng)
    x, y = case.batch(rng, 2 if name == "wide" else 8)
    if name == "dead_units":
        values["b1"] = np.full_like(values["b1"], -100.0)
    if name == "constant_inputs":
        x[:] = 1.0
    if name == "zero_feature":
        x[:, 1] = 0.0
    if name == "zero_inputs":
        x[:] = 0.0
    if name == "zero_weights":
        values = {key: np.zeros_like(v) for key, v in values.items()}
    if name == "equal_rows":
        x[:], y[:] = x[0], y[0]
    return build(case, values, dtype="float32"), to_single((x, y))


@pytest.mark.parametrize(
    "name",
    [
        "dead_units",
        "constant_inputs",
        "zero_feature",
        "zero_inputs",
        "zero_weights",
        "equal_rows",
        "one_input_one_output",
        "no_bias_of_ones",
        "wide",
    ],
)
@pytest.mark.parametrize("backend", ["jax"])
def test_degenerate_nets_and_data_train(name: str, backend: str, rng: np.random.Generator) -> None:
    problem, batch = degenerate(name, rng)
    update = compile_case(problem, backend=backend, **ADAPTIVE)
    reports = [update(*batch) for _ in range(12)]
    assert not any(r.skipped for r in reports)
    assert reports[-1].loss < reports[0].loss
    assert all(np.isfinite(v).all() for v in state_of(update).values())


# --- scales -----------------------------------------------------------------------------------


def test_the_scale_of_the_loss_does_not_matter(rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    values = case.values(rng)
    batches = [to_single(case.batch(rng, 16)) for _ in range(20)]
    ends = {}
    for scale in (1.0, 1e-6, 1e6):
        problem = build(case, values, dtype="float32")
        update = kfgn.compile_update(
            np.float32(scale) * problem.loss, problem.params, problem.inputs, backend="jax"
        )
        reports = [update(*batch) for batch in batches]
        assert not any(r.skipped for r in reports)
        ends[scale] = values_of(problem)
        if scale == 1:
            first = reports
        for r, wanted in zip(reports, first, strict=True):
            assert r.loss / scale == pytest.approx(wanted.loss, rel=SCALED_TRAJECTORY)
            assert r.damping / scale == pytest.approx(wanted.damping, rel=SCALED_TRAJECTORY)
    for scale in (1e-6, 1e6):
        for name, value in ends[1.0].items():
            assert_close(ends[scale][name], value, SCALED_TRAJECTORY)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_scale_of_the_data_does_not_matter(dtype: str, rng: np.random.Generator) -> None:
    """Linear least squares with inputs times s and targets times t has the optimum W t / s."""
    X, Y = rng.normal(size=(32, 3)), rng.normal(size=(32, 2))
    optimum = ((X @ np.linalg.lstsq(X, Y, rcond=None)[0] - Y) ** 2).sum(axis=1).mean()
    x, y = pt.matrix("x", dtype=dtype), pt.matrix("y", dtype=dtype)
    W = pytensor.shared(np.zeros((3, 2), dtype), name="W")
    update = kfgn.compile_update(((x @ W - y) ** 2).sum(axis=1).mean(), [W], [x, y], backend="c")
    start = update.state()
    scales = [(1.0, 1.0), (1e-3, 1.0), (1e-6, 1.0), (1e-15, 1.0), (1e4, 1.0), (1.0, 1e-15)]
    for s, t in [*scales, (1.0, 1e12), (1.0, 1e15)]:
        update.load_state(start)
        reports = [update((s * X).astype(dtype), (t * Y).astype(dtype)) for _ in range(30)]
        assert reports[6].loss < 1.01 * t**2 * optimum, (s, t)
        if t == 1:  # rounding, once the optimum is reached, does not raise lambda
            assert reports[-1].damping <= reports[0].damping


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lambda_is_kept_above_the_precision_of_the_dtype(
    dtype: str, rng: np.random.Generator
) -> None:
    case = case_of("tanh", "half_rows")
    values, (x, y) = case.values(rng), case.batch(rng, 6)
    problem = build(case, values, dtype=dtype)
    initial = 1e-14
    update = compile_case(
        problem,
        **ADAPTIVE | {"damping": kfgn.LevenbergMarquardt(initial=initial, minimum_ratio=0.0)},
    )
    stats = update(x.astype(dtype), y.astype(dtype))
    _, _, Qs, Gs = trainer_of(case, values).batch_factors(x, y)
    blocks = [np.trace(Q) * np.trace(G) / len(Q) / len(G) for Q, G in zip(Qs, Gs, strict=True)]
    least = max(blocks) * (max(map(len, Qs)) * np.finfo(dtype).eps) ** 2
    assert stats.clamped == (least > initial) == (dtype == "float32")
    assert stats.damping == pytest.approx(max(least, initial), rel=1e-4)
    assert not stats.skipped
