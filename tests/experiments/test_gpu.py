import numpy as np
import pytest

pytest.importorskip("jax")

import jax

from experiments.benchmarks.flops import Work, totals, update_terms
from experiments.benchmarks.gpu import Rates, measure, predicted_seconds

SIZES = [8, 6, 4, 6, 8]


def test_the_prediction_is_operations_and_launches() -> None:
    rates = Rates(flops=1e9, exact=1e9, launch=1e-6)
    work = Work("kfra", 1, 1, True, groups=2, examples=10)
    seconds = totals(update_terms(SIZES, 10, work))[0] / 1e9 + 7e-6
    found = predicted_seconds(SIZES, 10, "cholesky", "fresh", 7, rates)
    assert found == pytest.approx(seconds, rel=1e-12)


def test_products_alone_take_the_place_of_factorisations() -> None:
    """Three steps, each two products of every factor's size, 2 n^3 each, and two products more."""
    one, none = Rates(flops=1.0, exact=2.0, launch=0.0), 0
    by_products = predicted_seconds(SIZES, 10, "newton-schulz", "default", none, one)
    by_cholesky = predicted_seconds(SIZES, 10, "cholesky", "default", none, one)
    widths = [9, 6, 7, 4, 5, 6, 7, 8]
    cubes = sum(n**3 for n in widths) / 10
    assert by_products - by_cholesky == pytest.approx((16 / 2 - 1) * cubes, rel=1e-9)


@pytest.mark.slow
def test_a_case_is_measured() -> None:
    data = np.random.default_rng(0).random((40, 8)).astype("float32")
    case = {"inverse": "cholesky", "precision": "tf32", "schedule": "default"}
    found = measure(data, SIZES[1:-1], 10, 50, 1, **case)
    assert {name: found[name] for name in case} == case
    assert 0 < found["loop_ms"] < found["first_call_s"] * 1e3
    assert (found["kernels"] > 10) == (jax.default_backend() == "gpu")
    assert np.isfinite(found["loss"])
