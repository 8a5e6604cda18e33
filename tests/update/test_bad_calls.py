"""A call that goes wrong says what and where, and changes nothing."""

from __future__ import annotations

import os

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from tests.cases import BY_NAME, Problem, build
from tests.harness import MODES
from tests.stepping import assert_identical, compile_case, on_backends, state_of, values_of

D, K = 3, 2
GOOD = np.zeros((4, D)), np.zeros((4, K))


def bad_batches() -> list[object]:
    """Return batches that fit nothing, and what the message must name."""
    x, y = GOOD
    rows = {
        "one array": ((x,), r"2|two"),
        "three arrays": ((x, y, y), r"2|two"),
        "wrong width": ((np.zeros((4, D + 1)), y), r"\bx\b"),
        "wrong target width": ((x, np.zeros((4, K + 3))), r"\by\b"),
        "a vector": ((x[:, 0], y), r"\bx\b"),
        "one axis too many": ((x[None], y), r"\bx\b"),
        "lengths that differ": ((x, y[:2]), r"\by\b"),
        "no example": ((x[:0], y[:0]), "no example"),
        "one example": ((x[:1], y[:1]), "one example"),
        "complex": ((x + 1j, y), r"\bx\b"),
        "text": ((np.full((4, D), "a"), y), r"\bx\b"),
        "objects": ((np.full((4, D), None), y), r"\bx\b"),
    }
    return [pytest.param(*row, id=name.replace(" ", "_")) for name, row in rows.items()]


@pytest.fixture(scope="module")
def trained() -> tuple[Problem, kfgn.Update]:
    """A net in training, two good updates old."""
    rng = np.random.default_rng(5)
    case = BY_NAME["tanh-half_rows"]
    problem = build(case, case.values(rng))
    update = compile_case(problem)
    for _ in range(2):
        update(*case.batch(rng, 4))
    return problem, update


@pytest.mark.parametrize(("batch", "named"), bad_batches())
def test_a_batch_that_does_not_fit(batch, named: str, trained) -> None:
    problem, update = trained
    before, state = values_of(problem), state_of(update)
    with pytest.raises(kfgn.BatchError, match=named):
        update(*batch)
    assert_identical(values_of(problem), before)
    assert_identical(update.state(), state)


def test_labels_that_are_not_whole_numbers(rng: np.random.Generator) -> None:
    case = BY_NAME["one_layer-labels"]
    problem = build(case, case.values(rng))
    update = compile_case(problem)
    x, y = case.batch(rng, 4)
    before = values_of(problem)
    with pytest.raises(kfgn.BatchError, match=r"\by\b"):
        update(x, y + 0.5)
    assert_identical(values_of(problem), before)
    assert not update(x, y).skipped


def test_double_data_for_a_single_precision_net(rng: np.random.Generator) -> None:
    case = BY_NAME["tanh-half_rows"]
    values = case.values(rng)
    problem = build(case, values, dtype="float32")
    update = compile_case(problem)
    before = values_of(problem)
    x, y = case.batch(rng, 4)
    with pytest.raises(kfgn.BatchError, match=r"(?s)\bx\b.*float32"):
        update(x, y)
    assert_identical(values_of(problem), before)


def test_a_number_that_is_none_is_skipped(rng: np.random.Generator) -> None:
    case = BY_NAME["tanh-half_rows"]
    values, good = case.values(rng), [case.batch(rng, 4) for _ in range(4)]
    clean, dirty = build(case, values), build(case, values)
    with_good, with_bad = compile_case(clean), compile_case(dirty)
    poisons = [(0, np.nan), (1, np.nan), (1, np.inf), (1, -np.inf)]
    for batch, (place, poison) in zip(good, poisons, strict=True):
        assert not with_good(*batch).skipped
        assert not with_bad(*batch).skipped
        bad = tuple(a.copy() for a in batch)
        bad[place][2, 1] = poison
        before, state = values_of(dirty), state_of(with_bad)
        assert with_bad(*bad).skipped
        assert_identical(values_of(dirty), before)
        assert_identical(state_of(with_bad), state | {"failed": np.int32(1)})
    assert_identical(values_of(dirty), values_of(clean))


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_nan_is_skipped_on_every_backend(backend: str, rng: np.random.Generator) -> None:
    case = BY_NAME["tanh-half_rows"]
    problem = build(case, case.values(rng))
    update = compile_case(problem, backend=backend)
    x, y = case.batch(rng, 4)
    poisoned = x.copy()
    poisoned[0, 0] = np.nan
    before = values_of(problem)
    assert update(poisoned, y).skipped
    assert_identical(values_of(problem), before)
    assert not update(x, y).skipped
    assert all(np.abs(v - before[name]).max() > 0 for name, v in values_of(problem).items())
    assert all(np.isfinite(v).all() for v in values_of(problem).values())


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_shapes_that_fit_no_layer_or_each_other(backend: str, rng: np.random.Generator) -> None:
    """Axes of unknown length must agree: XLA would repeat an axis of length 1."""
    x, y = pt.matrix("x"), pt.matrix("y")
    W = pytensor.shared(rng.normal(size=(D, 4)), name="W")
    V = pytensor.shared(rng.normal(size=(4, K)), name="V")
    loss = ((pt.tanh(x @ W) @ V - y) ** 2).sum(axis=1).mean()
    update = kfgn.compile_update(loss, [W, V], [x, y], backend=backend)
    X, Y = rng.normal(size=(6, D)), rng.normal(size=(6, K))
    before = state_of(update)
    for _ in range(2):
        with pytest.raises(kfgn.BatchError, match=r"Layer W.*width 3, but.*'x'.*width 2"):
            update(X[:, :2], Y)
        with pytest.raises(kfgn.BatchError, match=r"axis 1.*'y'.*has 1"):
            update(X, Y[:, :1])
        assert_identical(state_of(update), before)
        outputs = np.tanh(X @ np.asarray(W.get_value())) @ np.asarray(V.get_value())
        wanted = ((outputs - Y) ** 2).sum(axis=1).mean()
        assert update(X, Y).loss == pytest.approx(wanted, rel=1e-12)
        before = state_of(update)


# --- saved states -----------------------------------------------------------------------------


def test_a_file_that_is_not_there_or_is_no_state(trained, tmp_path) -> None:
    problem, update = trained
    before, state = values_of(problem), state_of(update)
    with pytest.raises(kfgn.CheckpointError, match="absent"):
        update.load(tmp_path / "absent.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"not a state")
    with pytest.raises(kfgn.CheckpointError, match="noise"):
        update.load(tmp_path / "noise.safetensors")
    assert_identical(values_of(problem), before)
    assert_identical(state_of(update), state)


def test_what_is_no_state_and_no_file(trained, tmp_path) -> None:
    _, update = trained
    state = state_of(update)
    for wrong in (None, [1, 2]):
        with pytest.raises(kfgn.CheckpointError, match="names to arrays"):
            update.load_state(wrong)
    os.mkfifo(tmp_path / "pipe")
    for path in (None, 1, "a\0b", tmp_path, tmp_path / "pipe"):
        for act in (update.save, update.load):
            with pytest.raises(kfgn.CheckpointError, match="file"):
                act(path)
    assert (tmp_path / "pipe").is_fifo()
    assert_identical(state_of(update), state)


def test_a_file_keeps_its_permissions_and_a_link_its_target(trained, tmp_path) -> None:
    _, update = trained
    file, link = tmp_path / "state", tmp_path / "link"
    update.save(os.fsencode(file))
    file.chmod(0o640)
    link.symlink_to(file)
    update.save(link)
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    update.load(link)


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "dtype"])
def test_a_state_of_something_else(fault: str, trained) -> None:
    problem, update = trained
    before, state = values_of(problem), state_of(update)
    name = next(n for n, a in state.items() if a.ndim == 2)
    changed = dict(state)
    if fault == "missing":
        del changed[name]
    elif fault == "extra":
        name = "stranger"
        changed[name] = np.zeros(2)
    elif fault == "shape":
        changed[name] = np.zeros((7, 9))
    else:
        changed[name] = state[name].astype("complex128")
    with pytest.raises(kfgn.CheckpointError, match=name):
        update.load_state(changed)
    assert_identical(values_of(problem), before)
    assert_identical(state_of(update), state)
