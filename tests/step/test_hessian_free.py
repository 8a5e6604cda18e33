"""Hessian-free updates against dense systems."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kfgn_graph as kfgn
from tests.cases import Problem, build
from tests.harness import assert_close
from tests.reference import recursions
from tests.reference.adaptive import AdaptiveTrainer
from tests.reference.conjugate_gradients import martens
from tests.reference.training import HEADS
from tests.stepping import case_of, on_backends, slow, values_of
from tests.tolerances import TRAJECTORY

pytestmark = pytest.mark.thorough

DAMPING = 0.05


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
