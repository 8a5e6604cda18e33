"""One step from anywhere solves least squares: the block of a linear model is exact."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn

D, N = 3, 40


def vector_model(x):
    w = pytensor.shared(np.ones(D), name="w")
    b = pytensor.shared(0.5, name="b")
    return x @ w + b, w, b


def column_model(x):
    w = pytensor.shared(np.ones((D, 1)), name="w")
    b = pytensor.shared(np.zeros(1), name="b")
    return (x @ w + b)[:, 0], w, b


@pytest.mark.parametrize("model", [vector_model, column_model])
def test_one_step_is_the_least_squares_solution(model, rng: np.random.Generator) -> None:
    x, y = pt.matrix("x", shape=(None, D)), pt.vector("y")
    z, w, b = model(x)
    update = kfgn.compile_update(
        0.5 * ((z - y) ** 2).mean(),
        [w, b],
        [x, y],
        damping=kfgn.ConstantDamping(1e-18),
        step=1.0,
    )
    inputs, targets = rng.normal(size=(N, D)), rng.normal(size=N)
    update(inputs, targets)
    with_unit = np.concatenate([inputs, np.ones((N, 1))], axis=1)
    best = np.linalg.lstsq(with_unit, targets)[0]
    state = update.state()
    np.testing.assert_allclose(state["parameters/w"].ravel(), best[:-1], atol=1e-7)
    np.testing.assert_allclose(state["parameters/b"].ravel(), best[-1:], atol=1e-7)
