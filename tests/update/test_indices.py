"""Integers of a batch that index an axis: checked before the update, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph.update.indices import uses_of
from tests.stepping import assert_identical, slow, state_of

N, D, K = 8, 3, 4
X = np.random.default_rng(0).normal(size=(N, D))
LABELS = np.arange(N) % K
BACKENDS = ["jax", slow("numba"), slow("c")]


def picked(z: Any, y: Any) -> Any:
    """Return the mean cross-entropy, with labels picked by a pair of indices."""
    return -pt.special.log_softmax(z, axis=1)[pt.arange(y.shape[0]), y].mean()


FORMS = {
    "pair": picked,
    "along_axis": lambda z, y: (
        -pt.take_along_axis(pt.special.log_softmax(z, axis=1), y[:, None], axis=1).mean()
    ),
    "shifted": lambda z, y: picked(z, (y + 1) - 1),
    "cast": lambda z, y: picked(z, y.astype("int32").astype("int64")),
}


def built(
    form: str = "pair", backend: str = "jax", y: Any = None, static: bool = True
) -> kfgn.Update:
    """Compile an update of a net with one layer; labels ``y`` are an input by default."""
    x, labels = pt.matrix("x", shape=(None, D)), pt.lvector("y") if y is None else y
    shape = {"shape": (D, K)} if static else {}
    W = pytensor.shared(np.full((D, K), 0.1), name="W", **shape)
    inputs = [x, labels] if y is None else [x]
    damping = kfgn.ConstantDamping(0.1)
    loss = FORMS[form](x @ W, labels)
    return kfgn.compile_update(loss, [W], inputs, backend=backend, damping=damping)


def with_label(value: int) -> np.ndarray:
    labels = LABELS.copy()
    labels[5] = value
    return labels


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_label_out_of_range_is_named_and_changes_nothing(backend: str) -> None:
    update = built(backend=backend, static=False)
    update(X, LABELS)
    before = state_of(update)
    for value in (K, -K - 1, -100, 100_000, 2**40, np.iinfo("int64").min):
        message = rf"(?s)'y'.*the value {value} at \[5\].*length {K}: values from 0 to {K - 1}"
        with pytest.raises(kfgn.BatchError, match=message):
            update(X, with_label(value))
        with pytest.raises(kfgn.BatchError, match=message):
            update.check(X, with_label(value))
        rows = np.arange(N)[None]
        with pytest.raises(kfgn.BatchError, match=message):
            update.many((X, with_label(value)), rows)
    assert_identical(state_of(update), before)
    assert not update(X, LABELS).skipped


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_pick_labels_is_checked(form: str) -> None:
    update = built(form)
    with pytest.raises(kfgn.BatchError, match=f"'y'.*the value {K} "):
        update(X, with_label(K))
    assert not update(X, LABELS).skipped


@pytest.mark.parametrize("backend", BACKENDS)
def test_indices_from_the_end_are_those_of_numpy(backend: str) -> None:
    first, second = built(backend=backend), built(backend=backend)
    loss = first(X, with_label(-1)).loss
    assert loss == pytest.approx(second(X, with_label(K - 1)).loss, rel=1e-12)
    for name, array in state_of(first).items():
        np.testing.assert_allclose(array, state_of(second)[name], rtol=1e-9, err_msg=name)


def test_rows_that_no_batch_draws_are_not_checked() -> None:
    update = built()
    update.many((X, with_label(-100)), [[0, 1, 2, 3], [4, 6, 7, 0]])
    with pytest.raises(kfgn.BatchError, match="-100"):
        update.many((X, with_label(-100)), [[0, 1, 2, 3], [4, 5, 7, 0]])


def test_a_masked_label_has_to_be_replaced_before_it_is_an_index() -> None:
    x, y = pt.matrix("x", shape=(None, D)), pt.lvector("y")
    W = pytensor.shared(np.full((D, K), 0.1), name="W", shape=(D, K))
    log_p, kept = pt.special.log_softmax(x @ W, axis=1), pt.neq(y, -100)

    def compiled(index: Any) -> kfgn.Update:
        terms = pt.switch(kept, -log_p[pt.arange(y.shape[0]), index], 0.0)
        return kfgn.compile_update(terms.mean(), [W], [x, y], method=kfgn.KFLR(), backend="jax")

    with pytest.raises(kfgn.BatchError, match="-100"):
        compiled(y)(X, with_label(-100))
    loss = compiled(pt.switch(kept, y, 0))(X, with_label(-100)).loss
    z = X @ np.full((D, K), 0.1)
    terms = np.log(np.exp(z).sum(axis=1)) - z[np.arange(N), LABELS]
    terms[5] = 0
    assert loss == pytest.approx(terms.mean(), rel=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_shared_data_are_checked_when_the_data_change(backend: str) -> None:
    """Equal batches of row numbers index data that have become shorter, then longer."""
    data, rows = pytensor.shared(X, name="data"), pt.lvector("rows")
    W = pytensor.shared(np.full((D, K), 0.1), name="W", shape=(D, K))
    loss = ((data[rows] @ W) ** 2).sum(axis=1).mean()
    update = kfgn.compile_update(loss, [W], [rows], backend=backend)
    last = np.array([0, N - 1])
    update(last)
    data.set_value(X[:-1])
    before = state_of(update)
    with pytest.raises(kfgn.BatchError, match="data"):
        update(last)
    assert_identical(state_of(update), before)
    data.set_value(np.concatenate([X, X]))
    update(last + N)


def test_labels_in_a_shared_variable_are_checked() -> None:
    y = pytensor.shared(LABELS, name="y")
    update = built(y=y)
    assert not update(X).skipped
    y.set_value(with_label(K))
    with pytest.raises(kfgn.BatchError, match=f"'y'.*the value {K} "):
        update(X)


def test_rows_of_a_fixed_table_are_checked() -> None:
    table = pytensor.shared(np.random.default_rng(2).normal(size=(5, D)), name="table")
    tokens, y = pt.lvector("tokens"), pt.lvector("y")
    W = pytensor.shared(np.full((D, K), 0.1), name="W", shape=(D, K))
    loss = picked(table[tokens] @ W, y)
    update = kfgn.compile_update(loss, [W], [tokens, y], backend="jax")
    assert not update(np.arange(N) % 5, LABELS).skipped
    with pytest.raises(kfgn.BatchError, match=r"'tokens'.*the value 5 .*length 5"):
        update(np.arange(N), LABELS)


def test_arrays_on_another_device_are_checked_once_and_on_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jax = pytest.importorskip("jax")
    from kfgn_graph.backends.jax.backend import JAXBackend

    monkeypatch.setattr(JAXBackend, "is_remote", lambda self, a: isinstance(a, jax.Array))
    update, wrong = built(), jax.numpy.asarray(with_label(K))
    with pytest.raises(kfgn.BatchError, match="'y'"):
        update(X, wrong)
    update(X, jax.numpy.asarray(LABELS))
    update(X, wrong)  # clamped by JAX: to wait for the device in each call would stall it
    with pytest.raises(kfgn.BatchError, match="'y'"):
        update.check(X, wrong)


TABLE = np.random.default_rng(1).normal(size=(K, D))


def scanned(step: Any, **settings: Any) -> Any:
    return pytensor.scan(step, return_updates=False, **settings)


#: Functions of the rows of a table E, by integers y, that a scan picks in its loop.
IN_A_LOOP = {
    "sequence": lambda x, y, E: scanned(lambda a, i: a + E[(i + 1) - 1], sequences=[x, y]),
    "fixed": lambda x, y, E: (
        x + scanned(lambda _, y: E[y], sequences=[pt.arange(2)], non_sequences=[y])[-1]
    ),
    "state": lambda x, y, E: (
        x + scanned(lambda i: (i * 1, E[i]), outputs_info=[y, None], n_steps=2)[1][-1]
    ),
    "delayed": lambda x, y, E: (
        x
        + scanned(
            lambda before, last: (last * 1, E[before]),
            outputs_info=[{"initial": pt.stack([y, y]), "taps": [-2, -1]}, None],
            n_steps=2,
        )[1][-1]
    ),
    "nested": lambda x, y, E: (
        x + scanned(lambda: scanned(lambda i: E[i] * 1.0, sequences=[y]), n_steps=2)[-1]
    ),
    "time": lambda x, y, E: scanned(
        lambda rows, h: h + E[rows] / 2, sequences=[pt.stack([y, y])], outputs_info=[x]
    )[-1],
}


def looping(form: str, backend: str) -> kfgn.Update:
    """Compile an update of a net with one layer, after rows that are picked in a loop."""
    x, y = pt.matrix("x", shape=(None, D)), pt.lvector("y")
    E = pytensor.shared(TABLE, name="E", shape=(K, D))
    W = pytensor.shared(np.full((D, 2), 0.1), name="W", shape=(D, 2))
    loss = ((IN_A_LOOP[form](x, y, E) @ W) ** 2).sum(axis=1).mean()
    return kfgn.compile_update(loss, [W], [x, y], backend=backend)


@pytest.mark.parametrize("form", IN_A_LOOP)
def test_indices_in_the_loop_of_a_scan_are_checked(form: str) -> None:
    update = looping(form, "jax")
    update.check(X, with_label(-K))
    for value in (K, -100):
        with pytest.raises(kfgn.BatchError, match=f"value {value} at|index {value} is out of"):
            update.check(X, with_label(value))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "form"),
    [*(("jax", form) for form in IN_A_LOOP), ("numba", "delayed"), ("c", "delayed")],
)
def test_an_index_in_the_loop_of_a_scan_changes_nothing(backend: str, form: str) -> None:
    update = looping(form, backend)
    expected = ((X + TABLE[with_label(-1)]) @ np.full((D, 2), 0.1)) ** 2
    assert update(X, with_label(-1)).loss == pytest.approx(expected.sum(1).mean(), rel=1e-10)
    before = state_of(update)
    for value in (K, -K - 1, -100):
        with pytest.raises(kfgn.BatchError, match=f"value {value} at|index {value} is out of"):
            update(X, with_label(value))
    assert_identical(state_of(update), before)


def test_an_index_that_is_drawn_in_a_loop_is_refused() -> None:
    rng = pt.random.shared_rng(np.random.default_rng(0), name="rng")
    E = pytensor.shared(TABLE, name="E", shape=(K, D))

    def step(state: Any) -> tuple[Any, Any]:
        state, row = state.integers(0, K + 1, size=())
        return state, E[row]

    _, rows = scanned(step, outputs_info=[rng, None], n_steps=2)
    with pytest.raises(kfgn.BackendError, match=r"axis 0 of .*outside of the scan"):
        list(uses_of([rows]))
