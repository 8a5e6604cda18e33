"""The operations of Newton-Schulz, from the matrix products that its Op computes."""

from statistics import median

import numpy as np
import pytest

from kfgn_graph.linalg.newton_schulz import IteratedInverses
from kfgn_graph.program.building import build, compile_step
from kfgn_graph.program.explanation.operations import INVERSION_COST, NEWTON_SCHULZ_STEPS
from kfgn_graph.program.spec import parse_spec
from kfgn_graph.step import schedule

#: Operations of a product of two (d, d) matrices, in cubes of d.
PRODUCT = 2.0
INVERSE = IteratedInverses.inverse
UPDATES = 150
SPEC = """
loss = "bernoulli"
batch = 300
backend = "c"
schedule = { inverse = "newton-schulz" }
[network]
hidden = [100, 50, 10, 50, 100]
[data]
name = "digits"
[budget]
updates = 1
"""


class Counted(np.ndarray):
    """An array that counts the matrix products in which it, or a result of it, takes part."""

    products = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        Counted.products += ufunc is np.matmul
        found = getattr(ufunc, method)(*map(plain, inputs), **kwargs)
        return np.asarray(found).view(Counted)

    def __array_function__(self, function, types, args, kwargs):
        return np.asarray(super().__array_function__(function, types, args, kwargs)).view(Counted)


def plain(value: object) -> object:
    return np.asarray(value) if isinstance(value, Counted) else value


def counted(op: IteratedInverses, start, A, least) -> tuple[np.ndarray, int]:
    """Return the inverse of a matrix, and the number of matrix products that it takes."""
    Counted.products = 0
    found = INVERSE(op, start.view(Counted), A.view(Counted), least)
    return np.asarray(found), Counted.products


@pytest.mark.parametrize("iterations", [1, 2, 3, 6])
def test_every_step_takes_two_products(iterations):
    root = np.random.default_rng(0).normal(size=(30, 30))
    A = root @ root.T + 1e-6 * np.eye(30)
    op = IteratedInverses(iterations, tolerance=0.0)
    _, products = counted(op, np.zeros_like(A), A, np.asarray(1e-6))
    assert products == 2 * (iterations + 1)


def test_a_refresh_in_training_takes_the_steps_that_are_counted(monkeypatch):
    refreshes: list[list[int]] = []

    def recorded(op, start, A, least):
        found, products = counted(op, start, A, least)
        refreshes[-1].append(products)
        return found

    monkeypatch.setattr(IteratedInverses, "inverse", recorded)
    task = build(parse_spec(SPEC, "toml", "spec"))
    step = compile_step(task)
    rng = np.random.default_rng(0)
    for _ in range(UPDATES):
        refreshes.append([])
        rows = rng.choice(len(task.arrays[0]), task.spec.batch, replace=False)
        step(*(array[rows] for array in task.arrays))
    # the factor that takes most steps determines the refresh: JAX iterates all of them together
    most = [max(products) for products in refreshes[schedule.FIRST :] if products]
    assert set(most) <= {2 * (NEWTON_SCHULZ_STEPS - 1), 2 * NEWTON_SCHULZ_STEPS}
    assert INVERSION_COST["newton-schulz"] == PRODUCT * median(most)
