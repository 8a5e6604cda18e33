"""Compiled updates against their transcription in NumPy."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytensor
import pytest

import kfgn_graph as kfgn
from kfgn_graph.update.functions import MOST_FUNCTIONS, Functions
from tests.cases import PENALTY, Case, build
from tests.harness import MODES, assert_close
from tests.losses import LOSSES
from tests.nets import NETS, Net, chain
from tests.reference.training import REFRESHED_FIRST
from tests.stepping import (
    DAMPING,
    assert_identical,
    assert_same_parameters,
    case_of,
    compile_case,
    on_backends,
    slow,
    state_of,
    thorough,
    trainer_of,
    values_of,
)
from tests.tolerances import TRAJECTORY


@pytest.mark.parametrize(
    ("method", "loss"),
    [
        ("KFRA", "half_rows"),
        thorough("KFRA", "bernoulli"),
        thorough("KFRA", "labels"),
        ("KFLR", "labels"),
        slow("KFLR", "half_rows"),
        slow("KFLR", "bernoulli"),
    ],
)
def test_ten_updates_are_the_transcription(
    method: str, loss: str, rng: np.random.Generator
) -> None:
    case = case_of("mixed", loss)
    values = case.values(rng)
    problem, trainer = build(case, values), trainer_of(case, values, method)
    update = compile_case(problem, method)
    for k in range(10):
        x, y = case.batch(rng, 6)
        stats = update(x, y)
        assert not stats.skipped
        assert stats.loss == pytest.approx(trainer.update(x, y), rel=TRAJECTORY)
        if k in (0, 9):
            assert_same_parameters(problem, trainer, TRAJECTORY)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("method", "backend"),
    [("KFRA", "c"), ("KFRA", "numba"), ("KFRA", "jax"), slow("KFLR", "c"), slow("KFLR", "numba")],
)
def test_ten_updates_on_every_backend(method: str, backend: str, rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    values = case.values(rng)
    problem = build(case, values)
    trainer = trainer_of(case, values, method, l2=0.02, decay=0.7)
    update = compile_case(problem, method, backend=backend, l2=0.02, curvature_decay=0.7)
    for n in (5, 5, 3, 5, 8, 2, 5, 5, 3, 3):
        x, y = case.batch(rng, n)
        stats = update(x, y)
        assert stats.loss == pytest.approx(trainer.update(x, y), rel=TRAJECTORY)
    assert_same_parameters(problem, trainer, TRAJECTORY)


def test_a_penalty_in_the_loss_is_the_l2_setting(rng: np.random.Generator) -> None:
    values = case_of("tanh", "bernoulli").values(rng)
    inside = build(Case(NETS["tanh"], LOSSES["bernoulli"], penalised=True), values)
    outside = build(case_of("tanh", "bernoulli"), values)
    first, second = compile_case(inside), compile_case(outside, l2=PENALTY)
    for _ in range(5):
        batch = inside.case.batch(rng, 4)
        first(*batch)
        second(*batch)
    for name, value in values_of(inside).items():
        assert_close(value, values_of(outside)[name], TRAJECTORY)


def test_the_step_length_scales_the_update(rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    values, batch = case.values(rng), case.batch(rng, 4)
    full, half = build(case, values), build(case, values)
    compile_case(full)(*batch)
    compile_case(half, step=0.5)(*batch)
    for name, start in values.items():
        moved = values_of(full)[name] - start
        assert np.abs(moved).max() > 0
        assert_close(values_of(half)[name] - start, 0.5 * moved, TRAJECTORY)


@pytest.mark.parametrize("mode", on_backends(MODES))
def test_the_updates_dictionary_is_the_compiled_update(
    mode: str, rng: np.random.Generator
) -> None:
    case = case_of("tanh", "bernoulli")
    values = case.values(rng)
    mine, theirs = build(case, values, batch_size=4), build(case, values)
    updates = kfgn.kfgn_updates(
        mine.loss,
        mine.params,
        method=kfgn.KFRA(),
        damping=kfgn.ConstantDamping(DAMPING),
        step=1.0,
        curvature_decay=0.95,
        factors_every=1,
        refresh_every=1,
    )
    assert set(mine.params) <= set(updates)
    step = pytensor.function(mine.inputs, mine.loss, updates=updates, mode=MODES[mode])
    update = compile_case(theirs)
    for _ in range(5):
        batch = case.batch(rng, 4)
        assert step(*batch) == pytest.approx(update(*batch).loss, rel=TRAJECTORY)
    for name, value in values_of(mine).items():
        assert_close(value, values_of(theirs)[name], TRAJECTORY)


@pytest.mark.thorough
@pytest.mark.parametrize("backend", on_backends(MODES))
@pytest.mark.parametrize("method", ["KFRA", "KFAC"])
def test_state_and_file_resume_bit_for_bit(
    method: str, backend: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    case = case_of("tanh", "bernoulli")
    values = case.values(rng)
    batches = [case.batch(rng, 4) for _ in range(6)]
    straight = build(case, values)
    update = compile_case(straight, method, backend=backend)
    for batch in batches[:3]:
        update(*batch)
    path = tmp_path / "state.safetensors"
    update.save(path)
    state = state_of(update)
    for batch in batches[3:]:
        update(*batch)
    finished = values_of(straight)

    for way in ("state", "file"):
        other = build(case, case.values(rng))
        resumed = compile_case(other, method, backend=backend)
        if way == "state":
            resumed.load_state(state)
        else:
            resumed.load(path)
        assert_identical(resumed.state(), state)
        for batch in batches[3:]:
            resumed(*batch)
        assert_identical(values_of(other), finished)


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_kept_factors_serve_until_they_are_due(backend: str, rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    values = case.values(rng)
    problem, trainer = build(case, values), trainer_of(case, values, refresh_every=3)
    update = compile_case(problem, backend=backend, refresh_every=3)
    for _ in range(REFRESHED_FIRST + 6):
        x, y = case.batch(rng, 5)
        update(x, y)
        trainer.update(x, y)
        assert_same_parameters(problem, trainer, TRAJECTORY)


def test_the_seed_decides_what_is_drawn(rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    values, batches = case.values(rng), [case.batch(rng, 4) for _ in range(3)]
    ends = []
    for seed in (3, 3, 4):
        problem = build(case, values)
        update = compile_case(problem, "KFAC", seed=seed)
        for batch in batches:
            update(*batch)
        ends.append(values_of(problem))
    assert_identical(ends[0], ends[1])
    assert all(np.abs(ends[0][name] - ends[2][name]).max() > 0 for name in values)


def test_state_holds_the_averages_and_the_parameters(rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    values = case.values(rng)
    problem, trainer = build(case, values), trainer_of(case, values, "KFRA")
    update = compile_case(problem)
    for _ in range(3):
        x, y = case.batch(rng, 4)
        update(x, y)
        trainer.update(x, y)
    arrays = [np.asarray(a) for a in update.state().values()]
    wanted = [f for pair in trainer.averages for f in pair] + trainer.weights + trainer.biases
    for expected in wanted:
        assert any(
            a.shape == expected.shape and np.allclose(a, expected, rtol=1e-7, atol=1e-9)
            for a in arrays
        ), expected


def test_jax_donates_the_buffers_it_updates(rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    values = case.values(rng)
    problem, trainer = build(case, values), trainer_of(case, values, "KFRA")
    update = compile_case(problem, backend="jax")
    batches = [case.batch(rng, 4) for _ in range(4)]
    update(*batches[0])
    held = update.device_parameters().values()
    update(*batches[1])
    assert all(buffer.is_deleted() for buffer in held)
    for batch in batches[2:]:
        update(*batch)
    trainer.train(batches)
    assert_same_parameters(problem, trainer, TRAJECTORY)


def test_statistics_are_those_of_the_update(rng: np.random.Generator) -> None:
    case = case_of("tanh", "half_rows")
    values = case.values(rng)
    problem, trainer = build(case, values), trainer_of(case, values, "KFRA")
    x, y = case.batch(rng, 4)
    _, slopes, *_ = trainer.batch_factors(x, y)
    stats = compile_case(problem)(x, y)
    moved = [values_of(problem)[name] - start for name, start in values.items()]
    gradient = np.sqrt(sum(np.sum(s**2) for s in slopes))
    assert stats.gradient_norm == pytest.approx(gradient, rel=TRAJECTORY)
    step = np.sqrt(sum(np.sum(m**2) for m in moved))
    assert stats.update_norm == pytest.approx(step, rel=TRAJECTORY)
    assert stats.damping == pytest.approx(DAMPING)


@pytest.mark.thorough
def test_explain_tells_how_long_an_update_took_to_compile(rng: np.random.Generator) -> None:
    case = case_of()
    update = compile_case(build(case, case.values(rng)))
    assert "compiled" not in update.explain()
    for size in (4, 4, 5):
        batch = case.batch(rng, size)
        update(*batch)
    told = [line for line in update.explain().splitlines() if line.startswith("compiled")]
    assert [line.split("for (")[1].split(",")[0] for line in told] == ["4", "5"]
    assert all(float(line.split(" in ")[1].split()[0]) > 0 for line in told)


@pytest.mark.needs_data
def test_real_digits_are_learnt_in_few_updates(
    data_folder: Path, rng: np.random.Generator
) -> None:
    table = np.loadtxt(data_folder / "digits" / "digits.csv.gz", delimiter=",")
    x, y = table[:, :-1] / 16.0, table[:, -1].astype("int64")
    case = Case(digits_net(), LOSSES["labels"])
    problem = build(case, case.values(rng))
    update = compile_case(problem, damping=kfgn.ConstantDamping(1e-2))
    losses = []
    for _ in range(40):
        rows = rng.choice(len(x), size=256, replace=False)
        losses.append(update(x[rows], y[rows]).loss)
    assert losses[0] > 2.0
    assert np.mean(losses[-5:]) < 0.2


def digits_net() -> Net:
    """Return a net of one hidden layer for images of 8 x 8 pixels."""
    return chain("digits", [64, 20, 10], "tanh")


def test_functions_of_the_sizes_that_were_used_last_are_kept(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of("tanh", "half_rows")
    update = compile_case(build(case, case.values(rng)), backend="jax")
    monkeypatch.setattr(Functions, "_compile", lambda self, batch: Compiled())
    batches = [case.batch(rng, n) for n in range(2, MOST_FUNCTIONS + 3)]
    first, second, *_ = [update.function_for(batch) for batch in batches[:-1]]
    assert update.function_for(batches[0]) is first
    dropped = weakref.ref(second)
    del second, _
    update.function_for(batches[-1])
    assert dropped() is None
    assert update.function_for(batches[0]) is first


@pytest.mark.slow
def test_sizes_of_batches_may_be_compiled_again(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfgn_graph.update.functions.MOST_FUNCTIONS", 1)
    case = case_of("tanh", "half_rows")
    values = case.values(rng)
    update, twin = (compile_case(build(case, values), backend=b) for b in ("jax", "numba"))
    for n in (5, 3, 5, 3):
        x, y = case.batch(rng, n)
        rows = np.arange(n)[None]
        assert update(x, y).loss == pytest.approx(twin(x, y).loss, rel=1e-9)
        last = [u.many((x, y), rows).loss for u in (update, twin)]
        np.testing.assert_allclose(*last, rtol=1e-9)
    graph = weakref.ref(update.function_for((x, y)).maker.fgraph)
    update.function_for(case.batch(rng, 4))
    gc.collect()
    assert graph() is None


class Compiled:
    """What stands for a compiled function."""
