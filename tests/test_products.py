"""Exact Gauss-Newton products against JAX's own Jacobian products, for a residual net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn

SHAPES = {"W0": (3, 4), "b0": (4,), "W1": (4, 4), "b1": (4,), "V": (2, 4)}
N = 5


def network(maths, p, x):
    h = maths.tanh(x @ p["W0"] + p["b0"])
    return (h + maths.tanh(h @ p["W1"] + p["b1"])) @ p["V"].T


LOSSES = {
    "squared": (
        lambda z, y: ((z - y) ** 2).mean(),
        lambda z, y: ((z - y) ** 2).mean(),
    ),
    "softmax": (
        lambda z, y: -(y * pt.special.log_softmax(z, axis=1)).sum(axis=1).mean(),
        lambda z, y: -(y * jax.nn.log_softmax(z, axis=1)).sum(axis=1).mean(),
    ),
    "generic": (
        lambda z, y: pt.exp(0.1 * ((z - y) ** 2).sum(axis=1)).sum(),
        lambda z, y: jnp.exp(0.1 * ((z - y) ** 2).sum(axis=1)).sum(),
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_product_is_j_h_j_v(loss: str, rng: np.random.Generator) -> None:
    ours, theirs = LOSSES[loss]
    values = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    direction = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    batch = rng.normal(size=(N, 3)), rng.dirichlet(np.ones(2), size=N)
    shared = {name: pytensor.shared(v, name=name, shape=v.shape) for name, v in values.items()}
    x, y = pt.tensor("x", shape=(N, 3)), pt.tensor("y", shape=(N, 2))
    graph = kfgn.trace_layers(ours(network(pt, shared, x), y), list(shared.values()))
    product = kfgn.gauss_newton_product(graph, [pt.constant(v) for v in direction.values()])
    found = pytensor.function([x, y], product, mode="JAX", on_unused_input="ignore")(*batch)

    with jax.enable_x64(True):
        z, jv = jax.jvp(lambda p: network(jnp, p, batch[0]), (values,), (direction,))
        hjv = jax.jvp(jax.grad(lambda u: theirs(u, batch[1])), (z,), (jv,))[1]
        (true,) = jax.vjp(lambda p: network(jnp, p, batch[0]), values)[1](hjv)
    for name, actual in zip(SHAPES, found, strict=True):
        np.testing.assert_allclose(actual, true[name], rtol=0, atol=1e-12)


def test_one_vector_for_each_parameter() -> None:
    W, x = pytensor.shared(np.ones((2, 2)), name="W"), pt.matrix("x")
    graph = kfgn.trace_layers(((x @ W) ** 2).mean(), [W])
    with pytest.raises(kfgn.ParameterError, match="1 vectors"):
        kfgn.gauss_newton_product(graph, [])
