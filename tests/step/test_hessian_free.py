"""Conjugate gradients and Hessian-free updates against dense systems."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph.step.conjugate_gradients import conjugate_gradients, little_progress
from tests.cases import Problem, build
from tests.curvature.test_kronecker import semidefinite
from tests.harness import assert_close, compile_graph
from tests.reference import recursions
from tests.reference.adaptive import AdaptiveTrainer
from tests.reference.training import HEADS
from tests.stepping import case_of, on_backends, slow, values_of
from tests.tolerances import TRAJECTORY

pytestmark = pytest.mark.thorough

SIZE, DAMPING = 30, 0.05


# --- conjugate gradients ----------------------------------------------------------------------


def martens(
    A: np.ndarray, b: np.ndarray, x: np.ndarray, iterations: int, tolerance: float, M: np.ndarray
) -> tuple[np.ndarray, int]:
    """Return the solution of Martens' loop, and after how many iterations it stopped.

    Martens 2010, section 4.4: stop after iteration i if i > k, phi(x_i) < 0 and
    (phi(x_i) - phi(x_{i-k})) / phi(x_i) < k tolerance, with k = max(10, i / 10).
    """
    r = b - A @ x
    y = r / M
    d, rho = y, r @ y
    phi = [x @ A @ x / 2 - b @ x]
    for i in range(1, iterations + 1):
        step = rho / (d @ A @ d)
        x, r = x + step * d, r - step * (A @ d)
        y = r / M
        rho, last = r @ y, rho
        d = y + rho / last * d
        phi.append(x @ A @ x / 2 - b @ x)
        k = max(10, int(0.1 * i))
        if i > k and phi[i] < 0 and (phi[i] - phi[i - k]) / phi[i] < k * tolerance:
            return x, i
    return x, iterations


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


# --- updates ----------------------------------------------------------------------------------


def compiled(problem: Problem, method: kfgn.HessianFree, **settings: Any) -> kfgn.Update:
    chosen = {"damping": kfgn.ConstantDamping(damping=DAMPING), "step": 1.0, "backend": "jax"}
    return kfgn.compile_update(
        problem.loss, problem.params, problem.inputs, method=method, **chosen | settings
    )


def dense_system(values: Any, x: np.ndarray, y: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return the transcription's net, its gradient and dense Gauss-Newton matrix."""
    net = AdaptiveTrainer(
        [values["W0"], values["W1"]], [values["b0"], values["b1"]], ["tanh"], "bernoulli", "KFRA"
    )
    run = recursions.forward(net.weights, net.biases, net.activations, x)
    _, by_output, hessian = HEADS["bernoulli"](run.output, y)
    gradient = recursions.gradients(run, net.weights, by_output)
    J = net.jacobians(x)
    curvature = np.einsum("nkp,nkl,nlq->pq", J, hessian, J)
    return net, np.concatenate([g.ravel() for g in gradient]), curvature


@pytest.mark.parametrize(
    "kind", ["plain", "preconditioned", "block", slow("block_preconditioned")]
)
def test_one_update_is_the_dense_solution(kind: str, rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    values, (x, y) = case.values(rng), case.batch(rng, 8)
    problem, l2 = build(case, values), 0.02
    method = kfgn.HessianFree(
        iterations=120,
        tolerance=1e-16,
        block="block" in kind,
        preconditioned="preconditioned" in kind,
    )
    update = compiled(problem, method, l2=l2)
    net, gradient, curvature = dense_system(values, x, y)
    shifted = curvature + (DAMPING + l2) * np.eye(len(gradient))
    if "block" in kind:
        layer = np.repeat([0, 1], [rows * columns for rows, columns in net.shapes])
        shifted = np.where(layer[:, None] == layer[None, :], shifted, 0.0)
    step = net.layered(-np.linalg.solve(shifted, gradient + l2 * net.theta))
    update(x, y)
    for i in (0, 1):
        moved = [values_of(problem)[f"{p}{i}"] - values[f"{p}{i}"] for p in "Wb"]
        assert_close(np.vstack(moved), step[i], 1e-7)


def test_the_next_solution_starts_at_the_last_ones_decayed(rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    values = case.values(rng)
    problem = build(case, values)
    few = {"iterations": 3, "tolerance": 1e-12}
    update = compiled(problem, kfgn.HessianFree(start_decay=0.7, **few))
    start: Any = None
    for _ in range(3):
        x, y = case.batch(rng, 8)
        net, gradient, curvature = dense_system(values_of(problem), x, y)
        shifted = curvature + DAMPING * np.eye(len(gradient))
        start = np.zeros_like(gradient) if start is None else 0.7 * start
        start, _ = martens(shifted, -gradient, start, 3, 1e-12, np.ones(len(gradient)))
        wanted = net.theta + start
        update(x, y)
        moved = values_of(problem)
        for i, theta in enumerate(net.layered(wanted)):
            assert_close(np.vstack([moved[f"W{i}"], moved[f"b{i}"]]), theta, TRAJECTORY)


@pytest.mark.parametrize("backend", on_backends(["jax", "c", "numba"]))
def test_hessian_free_trains(backend: str, rng: np.random.Generator) -> None:
    case = case_of("tanh", "bernoulli")
    problem = build(case, case.values(rng))
    x, _ = case.batch(rng, 32)
    y = np.stack([x[:, 0] * x[:, 1] > 0, x.sum(axis=1) > 0], axis=1).astype("float64")
    update = compiled(
        problem,
        kfgn.HessianFree(iterations=30),
        damping=kfgn.LevenbergMarquardt(initial=0.1),
        step=kfgn.Rescaling(groups=1, momentum=False),
        backend=backend,
    )
    reports = [update(x, y) for _ in range(30)]
    assert reports[-1].loss < 0.3 * reports[0].loss
    assert reports[-1].damping < reports[0].damping
