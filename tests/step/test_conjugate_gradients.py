"""Conjugate gradients against dense solutions and Martens' loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

from kfgn_graph.step.conjugate_gradients import conjugate_gradients, little_progress
from tests.harness import assert_close, compile_graph
from tests.matrices import semidefinite
from tests.reference.conjugate_gradients import martens
from tests.stepping import slow
from tests.tolerances import TRAJECTORY

pytestmark = pytest.mark.thorough

SIZE = 30


def ours(
    A: np.ndarray,
    b: np.ndarray,
    start: np.ndarray,
    iterations: int,
    tolerance: float,
    divisor: np.ndarray | None = None,
    mode: str = "JAX",
) -> np.ndarray:
    """Solve by the package, the unknowns divided over two variables."""
    cut = len(b) // 3
    parts = [pytensor.shared(np.zeros(n), shape=(n,)) for n in (cut, len(b) - cut)]

    def divided(v: np.ndarray) -> dict[Any, Any]:
        return dict(zip(parts, (pt.constant(v[:cut]), pt.constant(v[cut:])), strict=True))

    def product(v: dict[Any, Any]) -> dict[Any, Any]:
        image = pt.constant(A) @ pt.concatenate(list(v.values()))
        return dict(zip(v, (image[:cut], image[cut:]), strict=True))

    solution = conjugate_gradients(
        product,
        divided(b),
        divided(start),
        iterations,
        tolerance,
        None if divisor is None else divided(divisor),
    )
    return np.concatenate(pytensor.function([], list(solution.values()), mode=mode)())


@pytest.mark.parametrize("mode", ["JAX", slow("NUMBA"), slow("CVM")])
def test_conjugate_gradients_solve(mode: str, rng: np.random.Generator) -> None:
    A, b = semidefinite(rng, SIZE) / SIZE + 0.1 * np.eye(SIZE), rng.normal(size=SIZE)
    found = ours(A, b, np.zeros(SIZE), 100, 1e-16, mode=mode)
    assert_close(found, np.linalg.solve(A, b), 1e-7)


@pytest.mark.parametrize("tolerance", [1e-2, 5e-3, 2e-3])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_martens_rule_stops(
    preconditioned: bool, tolerance: float, rng: np.random.Generator
) -> None:
    vectors = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    A = (vectors * np.logspace(0, -2, SIZE)) @ vectors.T
    b, start = A @ rng.normal(size=SIZE), 0.1 * rng.normal(size=SIZE)
    M = np.diag(A).copy() if preconditioned else np.ones(SIZE)
    wanted, stopped = martens(A, b, start, 120, tolerance, M)
    assert 10 < stopped < 120
    found = ours(A, b, start, 120, tolerance, M if preconditioned else None)
    assert_close(found, wanted, TRAJECTORY)
    one_less, _ = martens(A, b, start, stopped - 1, tolerance, M)
    assert np.abs(one_less - wanted).max() > 1e2 * TRAJECTORY * np.abs(wanted).max()


def test_the_window_of_the_rule_grows() -> None:
    phi = 0.5 - 1 + np.exp(-np.arange(300) / 40)
    history, i = pt.vector("history"), pt.lscalar("i")
    stops = compile_graph([history, i], little_progress(history, i, 1e-4))
    found = [bool(stops(phi, k)) for k in range(300)]
    wanted = []
    for k in range(300):
        window = max(10, int(0.1 * k))
        progress = (phi[k] - phi[max(k - window, 0)]) / phi[k]
        wanted.append(bool(k > window and phi[k] < 0 and progress < window * 1e-4))
    assert found == wanted
    assert 120 < wanted.index(True) < 299


def test_a_solved_system_stays_solved(rng: np.random.Generator) -> None:
    A, x = semidefinite(rng, 5), rng.normal(size=5)
    assert_close(ours(A, A @ x, x, 20, 1e-12), x, 1e-7)
    np.testing.assert_array_equal(ours(A, np.zeros(5), np.zeros(5), 20, 1e-12), np.zeros(5))
