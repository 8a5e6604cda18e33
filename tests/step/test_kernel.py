"""Updates by the Gram matrix of all layers against dense systems."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn
from kfgn_graph.curvature.square_root_rows import gram_by
from tests.cases import BY_NAME, PENALTY, Case, Problem, build, jax_loss, jax_output
from tests.stepping import case_of, on_backends, slow, values_of

PLAIN = Mode(linker="py", optimizer=None)
LAMBDA, L2, N = 0.02, 0.03, 6
CASES = [
    "residual-half_rows",
    "concatenated-log_softmax",
    "tanh-bernoulli-penalised",
    "elu-coupled",
    "sequence_to_flat-bernoulli",
    *(slow(name) for name in ("tanh-weighted", "tanh-heteroscedastic", "sequence-squared_3d")),
]


def moves(loss: Any, params: Any, inputs: Any, batch: Any, **settings: Any) -> list[np.ndarray]:
    """Return the change of each parameter in one update of constant damping."""
    chosen = {"damping": kfgn.ConstantDamping(LAMBDA), "step": 1.0} | settings
    updates = kfgn.kfgn_updates(loss, params, method="kernel", **chosen)
    new = [updates[p] - p for p in params]
    return pytensor.function(inputs, new, mode=PLAIN, on_unused_input="ignore")(*batch)


def dense(case: Case, values: Any, names: list[str], batch: Any) -> tuple[Any, Any]:
    """Return the gradient of the data loss and the Gauss-Newton matrix, by JAX."""
    x, *targets = batch
    with jax.enable_x64(True):
        chosen = {name: jnp.asarray(values[name]) for name in names}

        def output(p: Any) -> Any:
            return jax_output(case.net, values | p, x)

        z, pulled = jax.jvp(output, (chosen,), (chosen,))[0], jax.jacrev(output)(chosen)
        J = np.concatenate([np.reshape(pulled[n], (z.size, -1)) for n in names], axis=1)

        def loss(flat: Any) -> Any:
            return jax_loss(case.loss, flat.reshape(z.shape), *targets)

        slope, H = jax.grad(loss)(z.ravel()), jax.hessian(loss)(z.ravel())
    w, V = np.linalg.eigh(np.asarray(H))
    return np.asarray(slope) @ J, J.T @ (V * np.maximum(w, 0)) @ V.T @ J


@pytest.mark.parametrize("name", CASES)
def test_an_update_solves_the_whole_dense_system(name: str, rng: np.random.Generator) -> None:
    case = BY_NAME[name]
    values, batch = case.values(rng), case.batch(rng, N)
    problem = build(case, values)
    names = [str(p.name) for p in problem.params]
    found = moves(problem.loss, problem.params, problem.inputs, batch, l2=L2)
    gradient, G = dense(case, values, names, batch)
    eta = L2 + case.penalised * PENALTY
    theta = np.concatenate([values[n].ravel() for n in names])
    wanted = -np.linalg.solve(G + (LAMBDA + eta) * np.eye(len(G)), gradient + eta * theta)
    scale = np.abs(wanted).max()
    assert np.abs(np.concatenate([d.ravel() for d in found]) - wanted).max() < 1e-10 * scale


def positions(d_in: int) -> tuple[Any, list[Any], Any, np.ndarray]:
    """Return a loss of three positions that share a layer, and one in which a scale is copied."""
    rng = np.random.default_rng(1)
    x = pt.tensor("x", shape=(None, 3, d_in))
    W = pytensor.shared(rng.normal(size=(d_in, 2)), name="W")
    s = pytensor.shared(rng.normal(size=2), name="s")
    h = pt.tanh(x @ W) * s
    loss = ((h[:, :, 0] * h[:, :, 1]).sum(axis=1) ** 2).mean()
    return loss, [W, s], x, rng.normal(size=(N, 3, d_in))


@pytest.mark.parametrize(("d_in", "way"), [(4, "rows"), (10, "inputs and columns")])
def test_positions_that_share_a_weight(d_in: int, way: str) -> None:
    loss, params, x, batch = positions(d_in)
    graph = kfgn.trace_layers(loss, params)
    assert [gram_by(graph, layer) for layer in graph.layers] == [way, "columns"]
    found = moves(loss, params, [x], [batch])
    W, s = (p.get_value() for p in params)
    with jax.enable_x64(True):

        def residual(W: Any, s: Any) -> Any:
            return (jnp.tanh(batch @ W) * s).prod(axis=2).sum(axis=1)

        r, pulled = residual(W, s), jax.jacrev(residual, argnums=(0, 1))(W, s)
    J = np.concatenate([np.reshape(j, (N, -1)) for j in pulled], axis=1)
    wanted = np.linalg.solve(2 / N * J.T @ J + LAMBDA * np.eye(J.shape[1]), -2 / N * J.T @ r)
    np.testing.assert_allclose(np.concatenate([d.ravel() for d in found]), wanted, rtol=1e-9)


def test_a_tiny_lambda_gives_the_least_squares_step() -> None:
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(4, 30)) * np.logspace(0, -4, 30), rng.normal(size=(4, 1))
    x, y = pt.matrix("x"), pt.matrix("y")
    W = pytensor.shared(np.zeros((30, 1)), name="W")
    loss = ((x @ W - y) ** 2).mean()
    (found,) = moves(loss, [W], [x, y], [X, Y], damping=kfgn.ConstantDamping(1e-14))
    wanted = X.T @ np.linalg.solve(X @ X.T, Y)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())


@pytest.mark.parametrize("backend", on_backends(["jax", "c", "numba"]))
def test_momentum_is_of_the_last_direction(backend: str, rng: np.random.Generator) -> None:
    case, mu = case_of("tanh", "half_rows"), 0.7
    problem = build(case, case.values(rng))
    update = kfgn.compile_update(
        problem.loss,
        problem.params,
        problem.inputs,
        method=kfgn.KernelGaussNewton(momentum=mu),
        damping=kfgn.ConstantDamping(LAMBDA),
        step=1.0,
        backend=backend,
    )
    names = [str(p.name) for p in problem.params]
    last: Any = 0.0
    for _ in range(3):
        values, batch = values_of(problem), case.batch(rng, N)
        gradient, G = dense(case, values, names, batch)
        wanted = np.linalg.solve(G + LAMBDA * np.eye(len(G)), LAMBDA * mu * last - gradient)
        update(*batch)
        moved = values_of(problem)
        last = np.concatenate([(moved[n] - values[n]).ravel() for n in names])
        assert np.abs(last - wanted).max() < 1e-9 * np.abs(wanted).max()
    kept = update.state()
    np.testing.assert_allclose(
        np.concatenate([kept[f"solution/{n}"].ravel() for n in names]), last, atol=1e-12
    )


def adaptive(rng: np.random.Generator) -> tuple[Problem, kfgn.Update]:
    problem = build(case_of("tanh", "half_rows"), case_of("tanh", "half_rows").values(rng))
    damping = kfgn.LevenbergMarquardt(every=1, decay=0.5)
    method, step = kfgn.KernelGaussNewton(limit=40), kfgn.Rescaling(groups=1)
    update = kfgn.compile_update(
        problem.loss, problem.params, problem.inputs, method=method, damping=damping, step=step
    )
    return problem, update


def test_it_interpolates_few_examples_and_lambda_falls(rng: np.random.Generator) -> None:
    problem, update = adaptive(rng)
    batch = problem.case.batch(rng, 8)
    reports = [update(*batch) for _ in range(40)]
    assert reports[-1].loss < 1e-12 * reports[0].loss
    assert min(r.damping for r in reports) < 1e-2 * reports[0].damping
    assert "entries of a row" in update.explain()
    with pytest.raises(kfgn.BatchError, match="at most 40"):
        update(*problem.case.batch(rng, 50))
    with pytest.raises(kfgn.BatchError, match="at most 40"):
        update.many(problem.case.batch(rng, 100), np.arange(100).reshape(2, 50))


def test_what_is_refused() -> None:
    x = pt.matrix("x")
    W = pytensor.shared(np.ones((2, 2)), name="W")
    graph = kfgn.trace_layers(((x @ W) ** 2).mean(), [W])
    with pytest.raises(kfgn.SpecError, match="forms no blocks"):
        kfgn.curvature_factors(graph, kfgn.KernelGaussNewton())
    with pytest.raises(kfgn.SpecError, match="momentum"):
        kfgn.KernelGaussNewton(momentum=1.0)
    with pytest.raises(kfgn.SpecError, match="gamma='search'"):
        kfgn.Settings(method="kernel", damping=kfgn.LevenbergMarquardt(gamma="search"))
