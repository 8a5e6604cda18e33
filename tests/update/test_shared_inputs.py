"""Inputs that are no batch: class weights and other tables, which all examples read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from kfgn_graph.layers.batch_inputs import inputs_without_examples

N, D, K = 8, 4, 3
WEIGHTS = np.array([0.2, 1.0, 3.0])
Loss = Callable[[TensorVariable, TensorVariable, TensorVariable], TensorVariable]


def looked_up(z: TensorVariable, y: TensorVariable, w: TensorVariable) -> TensorVariable:
    logs = pt.special.log_softmax(z, axis=1)[pt.arange(y.shape[0]), y]
    return -(w[y] * logs).mean()


def broadcast(z: TensorVariable, y: TensorVariable, w: TensorVariable) -> TensorVariable:
    hot = pt.eq(y[:, None], pt.arange(K)[None]).astype("float64")
    return -(w * hot * pt.special.log_softmax(z, axis=1)).sum(axis=1).mean()


def compiled(loss: Loss, weights: TensorVariable | None, backend: str = "jax") -> kfgn.Update:
    """Return the update of a linear classifier with class weights, an input or a constant."""
    W = pytensor.shared(np.zeros((D, K)), name="W", shape=(D, K))
    x, y = pt.matrix("x", shape=(None, D)), pt.lvector("y")
    inputs = [x, y] if weights is None else [x, y, weights]
    given = pt.constant(WEIGHTS) if weights is None else weights
    return kfgn.compile_update(loss(x @ W, y, given), [W], inputs, backend=backend)


def drawn(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(N, D)), rng.integers(K, size=N)


@pytest.mark.parametrize("loss", [looked_up, pytest.param(broadcast, marks=pytest.mark.slow)])
def test_class_weights_are_an_input(loss: Loss, rng: np.random.Generator) -> None:
    x, y = drawn(rng)
    ours, theirs = compiled(loss, pt.vector("w")), compiled(loss, None)
    for _ in range(3):
        ours(x, y, WEIGHTS)
        theirs(x, y)
    np.testing.assert_allclose(ours.state()["parameters/W"], theirs.state()["parameters/W"])
    assert theirs.state()["parameters/W"].any()
    rows = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    assert np.isfinite(ours.many([x, y, WEIGHTS], rows).loss).all()
    theirs.many([x, y], rows)
    np.testing.assert_allclose(ours.state()["parameters/W"], theirs.state()["parameters/W"])


def test_the_other_backends_draw_no_rows_of_them(rng: np.random.Generator) -> None:
    x, y = drawn(rng)
    rows = np.array([[7, 6, 5, 4]])
    one, other = (compiled(looked_up, pt.vector("w"), backend="numba") for _ in range(2))
    together = one.many([x, y, WEIGHTS], rows)
    assert together.loss == pytest.approx(other(x[rows[0]], y[rows[0]], WEIGHTS).loss, rel=1e-12)


def test_examples_are_counted_without_them(rng: np.random.Generator) -> None:
    x, y = drawn(rng)
    update = compiled(looked_up, pt.vector("w"))
    with pytest.raises(kfgn.BatchError, match="'x' has 8, 'y' has 7"):
        update(x, y[:-1], WEIGHTS)
    with pytest.raises(kfgn.BatchError, match="index"):
        update(x, y, WEIGHTS[:1])


x, y, t, v = pt.matrix("x"), pt.lvector("y"), pt.matrix("t"), pt.vector("v")


@pytest.mark.parametrize(
    ("loss", "tables"),
    [
        ((v[y] * x.sum(axis=1)).sum(), {v}),
        (((x - v) ** 2).sum(), {v}),
        (((x @ t) ** 2).sum(), {t}),
        (((x - t) ** 2).sum() + v.shape[0], {v}),
        ((v * x.sum(axis=1)).sum(), set()),
        ((v[:, None] * x).sum(), set()),
        ((v[None, :] @ x.T).sum(), set()),  # a column for each example
        ((v[y] * v).sum(), set()),
        (v[v > 0].sum() + x.sum() + y.sum(), set()),
        ((v[pt.arange(2)] * 1.0).sum(), set()),
        ((x[y, :] * t).sum(), {x}),
    ],
)
def test_a_table_is_an_input_that_no_example_has_a_row_of(
    loss: TensorVariable, tables: set[TensorVariable]
) -> None:
    assert inputs_without_examples([loss], [x, y, t, v]) == tables
