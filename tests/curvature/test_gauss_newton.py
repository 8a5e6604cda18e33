"""Exact Gauss-Newton products against JAX's own Jacobian products, for a residual net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph.curvature.gauss_newton import SampledGaussNewton
from kfgn_graph.heads import find_head
from kfgn_graph.tracing import Source

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


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [2, N + 3])
def test_the_first_examples_stand_for_all(loss: str, count: int, rng: np.random.Generator) -> None:
    ours, theirs = LOSSES[loss]
    values = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    direction = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    batch = rng.normal(size=(N, 3)), rng.dirichlet(np.ones(2), size=N)
    shared = {name: pytensor.shared(v, name=name, shape=v.shape) for name, v in values.items()}
    x, y = pt.tensor("x", shape=(None, 3)), pt.tensor("y", shape=(None, 2))
    source = Source(ours(network(pt, shared, x), y), list(shared.values()), None, "error")
    graph = source.graph()
    leading = source.leading(graph, count)
    assert leading is not None
    assert len(leading.computed) == 6  # the inputs and pre-activations of three layers
    products = SampledGaussNewton(graph, find_head(graph), leading, count)
    v = {shared[name]: pt.constant(d) for name, d in direction.items()}
    found = pytensor.function([x, y], list(products.product(v).values()), mode="FAST_COMPILE")(
        *batch
    )

    n = min(count, N)
    with jax.enable_x64(True):
        z, jv = jax.jvp(lambda p: network(jnp, p, batch[0]), (values,), (direction,))
        jv = jv.at[n:].set(0) * N / n  # H_L is one block for each example
        hjv = jax.jvp(jax.grad(lambda u: theirs(u, batch[1])), (z,), (jv,))[1]
        (true,) = jax.vjp(lambda p: network(jnp, p, batch[0]), values)[1](hjv)
    for name, actual in zip(SHAPES, found, strict=True):
        np.testing.assert_allclose(actual, true[name], rtol=0, atol=1e-12)


def fixed_by(what: str) -> tuple[pt.TensorVariable, list[pytensor.compile.SharedVariable]]:
    """Return a loss whose graph says itself how many examples there are, and its parameter."""
    W = pytensor.shared(np.ones((2, 2)), name="W", shape=(2, 2))
    x = pt.tensor("x", shape=(N, 2))
    if what == "constant inputs":
        return ((pt.constant(np.ones((N, 2))) @ W) ** 2).mean(), [W]
    if what == "constant targets":
        return ((x @ W - pt.constant(np.ones((N, 2)))) ** 2).mean(), [W]
    if what == "shared data":
        return ((pytensor.shared(np.ones((N, 2))) @ W - x) ** 2).mean(), [W]
    return (((x @ W).reshape((N, 2)) - 1) ** 2).mean(), [W]


@pytest.mark.parametrize(
    "what", ["constant inputs", "constant targets", "shared data", "a reshape"]
)
def test_a_graph_that_fixes_the_number_of_examples_is_not_divided(what: str) -> None:
    loss, params = fixed_by(what)
    source = Source(loss, params, None, "error")
    assert source.leading(source.graph(), 2) is None
