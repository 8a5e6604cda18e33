"""Integers of a batch that index an axis: checked before the update, on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
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
