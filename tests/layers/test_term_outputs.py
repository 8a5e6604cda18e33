"""Losses whose terms are residuals of the network and of its derivatives."""

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

N, LAMBDA = 6, 0.01
SHAPES = {"W": (2, 4), "b": (4,), "V": (4, 1), "c": (1,)}


def field(maths: Any, p: Any, points: Any) -> Any:
    """Return u at points (N, 2)."""
    return (maths.tanh(points @ p["W"] + p["b"]) @ p["V"] + p["c"])[:, 0]


def heat(shared: Any) -> tuple[Any, list[Any]]:
    """Return the sum of two means of squares: u_t - u_xx at points, and u - y where t is 0."""
    x, t, y = pt.vector("x"), pt.vector("t"), pt.vector("y")
    u = field(pt, shared, pt.stack([x, t], axis=1))
    u_x = pytensor.grad(u.sum(), x)
    residual = pytensor.grad(u.sum(), t) - pytensor.grad(u_x.sum(), x)
    start = field(pt, shared, pt.stack([x, pt.zeros_like(t)], axis=1))
    return (residual**2).mean() + 3 * ((start - y) ** 2).mean(), [x, t, y]


def residuals(p: Any, x: Any, t: Any, y: Any) -> Any:
    """Return the same residuals, (2, N), by JAX."""

    def u(x: Any, t: Any) -> Any:
        return field(jnp, p, jnp.stack([x, t])[None])[0]

    u_xx = jax.vmap(jax.grad(jax.grad(u)))(x, t)
    equation = jax.vmap(jax.grad(u, argnums=1))(x, t) - u_xx
    return jnp.stack([equation, jax.vmap(u)(x, 0 * t) - y])


def shared_values(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    values = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    return values, {n: pytensor.shared(v, name=n, shape=v.shape) for n, v in values.items()}


@pytest.mark.slow
def test_each_residual_is_one_output(rng: np.random.Generator) -> None:
    values, shared = shared_values(rng)
    loss, inputs = heat(shared)
    params, batch = list(shared.values()), [rng.normal(size=N) for _ in range(3)]
    graph = kfgn.trace_layers(loss, params)
    assert graph.example_axes[graph.output] == 1
    updates = kfgn.kfgn_updates(
        loss, params, method="kernel", damping=kfgn.ConstantDamping(LAMBDA), step=1.0
    )
    mode = Mode(linker="py", optimizer=None)
    z, *moved = pytensor.function(
        inputs, [graph.output, *(updates[p] - p for p in params)], mode=mode
    )(*batch)
    with jax.enable_x64(True):
        r = residuals(values, *batch)
        pulled = jax.jacrev(residuals)(values, *batch)
    assert z.shape == (N, 2)
    J = np.concatenate([np.reshape(pulled[n], (2 * N, -1)) for n in SHAPES], axis=1)
    weights = np.repeat([2 / N, 6 / N], N)
    G = (J.T * weights) @ J + LAMBDA * np.eye(J.shape[1])
    wanted = -np.linalg.solve(G, J.T @ (weights * np.ravel(r)))
    found = np.concatenate([d.ravel() for d in moved])
    assert np.abs(found - wanted).max() < 1e-9 * np.abs(wanted).max()


def test_points_of_other_terms_belong_into_the_batch(rng: np.random.Generator) -> None:
    _, shared = shared_values(rng)
    params, x, edge = list(shared.values()), pt.matrix("x"), pt.matrix("edge")
    slope = pytensor.grad(field(pt, shared, x).sum(), x)
    inside = (slope**2).sum(axis=1).mean()
    fixed = field(pt, shared, pt.constant(rng.normal(size=(4, 2))))
    with pytest.raises(kfgn.CurvatureRuleNotFound, match="put them into one batch"):
        kfgn.trace_layers(inside + (fixed**2).mean(), params)
    loss = inside + (field(pt, shared, edge) ** 2).mean()
    update = kfgn.compile_update(loss, params, [x, edge], backend="jax")
    with pytest.raises(kfgn.BatchError, match="selects each point's term"):
        update(np.ones((5, 2)), np.ones((3, 2)))
