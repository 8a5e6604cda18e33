"""tanh, sigmoid and softplus by arithmetic are those functions to float32's precision."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import scipy.special

from kfgn_graph.backends import resolve_backend
from tests.stepping import on_backends

FUNCTIONS = {
    "tanh": (pt.tanh, np.tanh),
    "sigmoid": (pt.sigmoid, scipy.special.expit),
    "softplus": (pt.softplus, lambda x: np.logaddexp(0, x)),
}
UNITS = 6  # in the last place: rounding of a quotient of polynomials, and of three doublings


@cache
def compiled(name: str, backend: str, dtype: str) -> Any:
    x = pt.vector("x", dtype=dtype)
    return pytensor.function(
        [x], FUNCTIONS[name][0](x), mode=resolve_backend(backend, None).mode()
    )


@pytest.mark.parametrize("backend", on_backends(["numba", "c"]))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_to_a_few_units_in_the_last_place(name: str, backend: str) -> None:
    small = np.geomspace(1e-30, 80, 100_000)
    x = np.concatenate([np.linspace(-20, 20, 400_001), small, -small]).astype("float32")
    got = compiled(name, backend, "float32")(x)
    assert got.dtype == np.float32
    want = FUNCTIONS[name][1](x.astype("float64"))
    unit = np.spacing(abs(want).astype("float32")).astype("float64")
    assert (abs(got - want) / unit).max() < UNITS


@pytest.mark.parametrize("backend", on_backends(["numba", "c"]))
def test_what_is_not_finite(backend: str) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1e30, -1e30], "float32")
    np.testing.assert_array_equal(compiled("tanh", backend, "float32")(x), [1, -1, np.nan, 1, -1])
    sigmoid = compiled("sigmoid", backend, "float32")(x)
    np.testing.assert_array_equal(sigmoid, [1, 0, np.nan, 1, 0])
    softplus = compiled("softplus", backend, "float32")(x)
    np.testing.assert_array_equal(softplus, np.array([np.inf, 0, np.nan, 1e30, 0], "float32"))


@pytest.mark.parametrize("backend", on_backends(["numba", "c"]))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_is_left_alone(name: str, backend: str) -> None:
    x = np.linspace(-30, 30, 1001)
    np.testing.assert_allclose(
        compiled(name, backend, "float64")(x), FUNCTIONS[name][1](x), rtol=1e-14
    )
