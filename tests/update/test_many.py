"""Several updates in one call are those updates one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kfgn_graph as kfgn
from tests.cases import build
from tests.harness import MODES
from tests.stepping import assert_identical, case_of, compile_case, on_backends, state_of

pytestmark = pytest.mark.thorough

ADAPTIVE: dict[str, Any] = {
    "damping": kfgn.LevenbergMarquardt(),
    "step": kfgn.Rescaling(),
    "factors_every": 2,
    "refresh_every": 3,
    "average_iterates": True,
}
EXAMPLES, BATCH, UPDATES = 20, 6, 8


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_the_same_as_calls_one_after_the_other(backend: str, rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    values, data = case.values(rng), case.batch(rng, EXAMPLES)
    rows = np.stack([rng.permutation(EXAMPLES)[:BATCH] for _ in range(UPDATES)])
    single, several = (
        compile_case(build(case, values), backend=backend, **ADAPTIVE) for _ in range(2)
    )
    apart = [single(*(a[r] for a in data)) for r in rows]
    together = several.many(data, rows)
    assert_close_statistics(together, apart)
    assert together.skipped.dtype == bool
    for name, array in state_of(single).items():
        np.testing.assert_allclose(state_of(several)[name], array, rtol=1e-9, atol=1e-12)
    # what follows goes on from there, whichever way
    assert_close_statistics(
        several.many(data, rows[:2]), [single(*(a[r] for a in data)) for r in rows[:2]]
    )
    batch = [a[rows[0]] for a in data]
    assert several(*batch).loss == pytest.approx(single(*batch).loss, rel=1e-9)


def assert_close_statistics(together: kfgn.UpdateStats, apart: list[kfgn.UpdateStats]) -> None:
    for name, array in together.as_dict().items():
        assert array.shape == (len(apart),)
        np.testing.assert_allclose(array, [getattr(s, name) for s in apart], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (np.zeros(4, int), "table"),
        (np.zeros((2, 4)), "table"),
        (np.zeros((0, 4), int), "table"),
        (np.full((2, 4), EXAMPLES), f"0 to {EXAMPLES - 1}"),
        (np.full((2, 4), -1), "-1"),
        (np.zeros((2, 1), int), "one example"),
        ([[0, 1, 2], [3, 4]], "differ in length"),
    ],
)
def test_bad_batches_change_nothing(rows: np.ndarray, word: str, rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    update = compile_case(build(case, case.values(rng)))
    before = state_of(update)
    with pytest.raises(kfgn.BatchError, match=word):
        update.many(case.batch(rng, EXAMPLES), rows)
    assert_identical(state_of(update), before)


def test_bad_data_change_nothing(rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    update = compile_case(build(case, case.values(rng)))
    before = state_of(update)
    x, y = case.batch(rng, EXAMPLES)
    for data in ((x,), (x[:, :1], y), (x, y.astype(complex)), (x, y[:-1])):
        with pytest.raises(kfgn.BatchError):
            update.many(data, np.zeros((2, 4), int))
    assert_identical(state_of(update), before)


def test_a_hundred_calls_compile_the_function_once(rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    update = compile_case(build(case, case.values(rng), dtype="float32"), **ADAPTIVE)
    compiled: list[str] = []

    def count(event: str, duration: float, **kwargs: Any) -> None:
        compiled.extend([event] * event.endswith("backend_compile_duration"))

    jax = pytest.importorskip("jax")
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        for k in range(100):
            update(*(a.astype("float32") for a in case.batch(rng, BATCH)))
            if k == 0:
                assert compiled
                compiled.clear()
    finally:
        jax.monitoring.clear_event_listeners()
    assert compiled == []


def test_a_float32_update_computes_nothing_in_float64(rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    update = compile_case(build(case, case.values(rng), dtype="float32"), **ADAPTIVE)
    batch = [a.astype("float32") for a in case.batch(rng, BATCH)]
    function = update.function_for(batch)
    shared = [container.storage[0] for container in function.input_storage][len(batch) :]
    program = function.vm.jit_fn.lower(*batch, *shared).compile().as_text()
    assert "f32[" in program
    assert "f64[" not in program
