"""Whatever is raised during a call, parameters and state are from before or from after it."""

from __future__ import annotations

import copy
import pickle
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.raise_op import Assert

import kfgn_graph as kfgn
from kfgn_graph.backends.interruptions import uninterrupted
from kfgn_graph.backends.transactions import attempt
from tests.stepping import assert_identical, slow, state_of

pytestmark = pytest.mark.thorough

BACKENDS = ["jax", slow("numba"), slow("c")]
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(64, 20)), RNG.normal(size=(64, 5))
ROWS = np.arange(64).reshape(4, 16)


def built(backend: str, of_x: Callable[[Any], Any] = lambda x: x) -> tuple[kfgn.Update, list[Any]]:
    """Compile an update of a net with two layers."""
    x, y = pt.matrix("x", shape=(None, 20)), pt.matrix("y", shape=(None, 5))
    rng = np.random.default_rng(1)
    V, W = (
        pytensor.shared(rng.normal(size=shape) / 5, name=name)
        for name, shape in (("V", (20, 30)), ("W", (30, 5)))
    )
    loss = ((pt.tanh(of_x(x) @ V) @ W - y) ** 2).sum(axis=1).mean()
    settings: dict[str, Any] = {"refresh_every": 2, "backend": backend}
    return kfgn.compile_update(loss, [V, W], [x, y], **settings), [V, W]


@pytest.fixture
def alarm() -> Iterator[None]:
    """Let an alarm do what Ctrl-C does."""
    kept = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, kept)


@pytest.mark.parametrize(
    ("backend", "many", "interruptions"),
    [
        ("jax", False, 40),
        ("jax", True, 20),
        *(
            pytest.param(b, many, 300, marks=pytest.mark.slow)
            for b in ("jax", "numba", "c")
            for many in (False, True)
        ),
    ],
)
def test_an_interrupted_call_is_made_or_not_made(
    backend: str, many: bool, interruptions: int, alarm: None
) -> None:
    (update, _), (twin, _) = built(backend), built(backend)
    call = (lambda: update.many((X, Y), ROWS)) if many else (lambda: update(X, Y))
    call()
    draw, raised = random.Random(1), 0
    longest = seconds(call) * 1.2
    for _ in range(interruptions):
        before = state_of(update)
        raised += interrupted(call, draw.uniform(1e-5, longest))
        after = state_of(update)
        twin.load_state(before)
        whole = [before]
        for step in steps_of(twin, backend, many):
            step()
            whole.append(state_of(twin))
        assert any(same(state, after) for state in whole)
    assert raised > interruptions // 4
    assert np.isfinite(call().loss).all()


def steps_of(update: kfgn.Update, backend: str, many: bool) -> list[Callable[[], Any]]:
    """Return the calls between which a call may be interrupted."""
    if not many:
        return [lambda: update(X, Y)]
    if backend == "jax":
        return [lambda: update.many((X, Y), ROWS)]
    return [lambda rows=rows: update(X[rows], Y[rows]) for rows in ROWS]


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    """Return whether two states are equal, bit for bit."""
    return all(a.tobytes() == second[name].tobytes() for name, a in first.items())


def interrupted(call: Callable[[], Any], delay: float) -> bool:
    """Return whether a call raised at an alarm after a delay in seconds."""
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return True
    return False


def seconds(call: Callable[[], Any]) -> float:
    from time import perf_counter

    times = []
    for _ in range(5):
        start = perf_counter()
        np.asarray(call().loss)
        times.append(perf_counter() - start)
    return min(times)


def test_signals_wait_and_are_all_delivered() -> None:
    seen: list[str] = []
    kept = {n: signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGUSR2)}
    try:
        for number in kept:
            signal.signal(number, lambda n, frame: seen.append(signal.Signals(n).name))

        def change() -> str:
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGUSR1)
            seen.append("changed")
            return "result"

        assert uninterrupted(change) == "result"
        assert seen == ["changed", "SIGUSR1", "SIGUSR2", "SIGUSR1"]
        signal.raise_signal(signal.SIGUSR2)
        assert seen[-1] == "SIGUSR2"
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@pytest.fixture
def default_sigint() -> Iterator[None]:
    """Python's handler of Ctrl-C, which a process in the background may have begun without."""
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, kept)


def test_a_second_interruption_does_not_wait_where_the_change_is_undone(
    default_sigint: None,
) -> None:
    steps: list[str] = []

    def change() -> None:
        signal.raise_signal(signal.SIGINT)
        steps.append("first")
        signal.raise_signal(signal.SIGINT)
        steps.append("second")

    with pytest.raises(KeyboardInterrupt):
        uninterrupted(change, recoverable=True)
    assert steps == ["first"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_change_that_fails_is_undone_or_reported() -> None:
    storages, kept = [[np.zeros(2)], [np.ones(2)]], [np.zeros(2), np.ones(2)]

    def change() -> None:
        storages[0][0][...] = 7.0
        raise MemoryError("no memory")

    with pytest.raises(MemoryError):
        attempt(change, storages, kept)
    assert [s[0].tolist() for s in storages] == [[0, 0], [1, 1]]
    with pytest.raises(MemoryError):
        attempt(change, storages, None, lost=lambda: False)
    with pytest.raises(kfgn.CheckpointError, match=r"no memory.*load\(\)"):
        attempt(change, storages, None)


@pytest.mark.parametrize("backend", [slow("numba"), slow("c")])
def test_a_graph_that_raises_for_a_batch_changes_nothing(backend: str) -> None:
    positive = Assert("the first number is negative")
    update, _ = built(backend, lambda x: positive(x, pt.ge(x[0, 0], 0)))
    good, bad = X.copy(), X.copy()
    good[0, 0], bad[0, 0] = 1.0, -1.0
    update(good, Y)
    before = state_of(update)
    with pytest.raises(AssertionError, match="negative"):
        update(bad, Y)
    assert_identical(state_of(update), before)
    twin, _ = built(backend)
    twin.load_state(before)
    assert update(good, Y).loss == pytest.approx(twin(good, Y).loss, rel=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_update_of_four_threads_is_lost(backend: str) -> None:
    update, _ = built(backend)
    update(X, Y)
    start, failures = int(update.state()["count"]), []

    def train() -> None:
        try:
            for rows in np.tile(ROWS, (6, 1)):
                update(X[rows], Y[rows])
                update.state()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert update.state()["count"] == start + 4 * 24
    assert all(np.isfinite(a).all() for a in update.state().values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_array_that_was_lent_is_not_written(backend: str, tmp_path: Path) -> None:
    update, params = built(backend)
    values = [p.get_value() for p in params]
    update(X, Y)
    np.save(tmp_path / "V.npy", values[0])
    size = values[1].nbytes
    aligned = np.empty(size + 64, np.uint8)
    offset = -aligned.ctypes.data % 64  # JAX takes over the memory of an aligned array on a CPU
    lent = aligned[offset : offset + size].view(float).reshape(values[1].shape)
    lent[...] = values[1]
    params[0].set_value(np.load(tmp_path / "V.npy", mmap_mode="r"), borrow=True)
    params[1].set_value(lent, borrow=True)
    for _ in range(3):
        np.asarray(update(X, Y).loss)
    assert np.array_equal(lent, values[1])
    assert np.array_equal(np.load(tmp_path / "V.npy"), values[0])
    assert all(np.abs(p.get_value() - v).max() > 0 for p, v in zip(params, values, strict=True))


def test_parameters_trained_on_jax_go_on_elsewhere() -> None:
    x, y = pt.matrix("x", shape=(None, 20)), pt.matrix("y", shape=(None, 5))
    W = pytensor.shared(np.zeros((20, 5)), name="W", shape=(20, 5))
    loss = ((x @ W - y) ** 2).sum(axis=1).mean()
    first = kfgn.compile_update(loss, [W], [x, y], backend="jax")
    second = kfgn.compile_update(loss, [W], [x, y], backend="numba")
    losses = [update(X, Y).loss for update in (first, second, first, second)]
    assert losses[0] > losses[1] > losses[2] > losses[3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_parameter_of_another_shape_is_named(backend: str) -> None:
    update, (V, _) = built(backend)
    update(X, Y)
    before = state_of(update)
    V.set_value(np.zeros((20, 40)))
    for call in (lambda: update(X, Y), lambda: update.many((X, Y), ROWS)):
        with pytest.raises(kfgn.ParameterError, match=r"'V'.*\(20, 40\).*\(20, 30\)"):
            call()
    with pytest.raises(kfgn.ParameterError, match="'V'"):
        update.state()
    update.load_state(before)
    assert_identical(state_of(update), before)
    with pytest.raises(kfgn.CheckpointError, match="count"):
        update.load_state(before | {"count": np.int32(-1)})
    update(X, Y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_deep_copy_trains_parameters_apart(backend: str) -> None:
    update, params = built(backend)
    update(X, Y)
    other = copy.deepcopy(update)
    assert_identical(state_of(other), state_of(update))
    before = state_of(update)
    loss = other(X, Y).loss
    assert_identical(state_of(update), before)
    assert not set(other.graph.parameters) & set(params)
    assert update(X, Y).loss == pytest.approx(loss, rel=1e-12)
    assert_identical(state_of(other), state_of(update))
    third, copied = copy.deepcopy([update, params])
    assert list(third.graph.parameters) == list(copied)
    with pytest.raises(kfgn.CheckpointError, match=r"pickled.*state\(\)"):
        pickle.dumps(update)
