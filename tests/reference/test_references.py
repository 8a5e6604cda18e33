"""The references agree with each other and with finite differences: judges are judged too."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from tests.cases import BY_NAME, CASES, Case, jax_loss, jax_output
from tests.nets import LayerSpec
from tests.reference import dense, kronecker, recursions, training
from tests.tolerances import EXACT

# Every chain once; a few of them every day.
EVERYDAY = {"tanh_deep", "swish", "transposed", "no_bias", "mixed", "relu"}
CHAINS = [
    pytest.param(case, id=case.name, marks=[] if name in EVERYDAY else pytest.mark.slow)
    for name, case in {c.net.name: c for c in CASES if c.net.chain is not None}.items()
]


def chain_arrays(
    case: Case, values: dict[str, np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Return the weights as (d_in, d_out), and the biases, of a chain net."""
    weights = [values[s.weight].T if s.transposed else values[s.weight] for s in case.net.layers]
    return weights, [values[s.bias] if s.bias else None for s in case.net.layers]


@pytest.mark.parametrize("case", CHAINS)
def test_the_recursions_agree_with_dense_autodiff(case: Case, rng: np.random.Generator) -> None:
    values, batch = case.values(rng), case.batch(rng, 4)
    true = dense.truth(case, values, batch)
    weights, biases = chain_arrays(case, values)
    run = recursions.forward(weights, biases, case.net.chain or (), batch[0])
    np.testing.assert_allclose(run.output, true.output, rtol=EXACT, atol=EXACT)
    G = recursions.kflr(weights, run, true.output_hessian)
    H = recursions.hessians(weights, run, true.output_gradient, true.output_hessian)
    for i, spec in enumerate(case.net.layers):
        if spec not in case.layers:
            continue
        layer = true.layers[spec.weight]
        np.testing.assert_allclose(layer.hessian, H[i], rtol=EXACT, atol=EXACT)
        if case.loss.convex:
            np.testing.assert_allclose(layer.G, G[i], rtol=EXACT, atol=EXACT)
        Q = recursions.input_factor(run.inputs[i], spec.bias is not None)
        np.testing.assert_allclose(layer.Q, Q, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("name", ["residual-bernoulli", "transposed-half_rows"])
def test_the_hessian_block_is_that_of_the_whole_loss(name: str, rng: np.random.Generator) -> None:
    case = BY_NAME[name]
    values, (x, *targets) = case.values(rng), case.batch(rng, 3)
    true = dense.truth(case, values, (x, *targets))
    for spec in case.layers:

        @jax.jit
        def loss(theta: jax.Array, spec: LayerSpec = spec) -> jax.Array:
            changed = dense.replace(case.net, spec, values, theta)
            return jax_loss(case.loss, jax_output(case.net, changed, x), *targets)

        theta = dense.flatten(spec, values)
        block = true.layers[spec.weight].hessian_block
        np.testing.assert_allclose(
            jax.jit(jax.hessian(loss))(theta), block, rtol=EXACT, atol=EXACT
        )
        direction = rng.normal(size=theta.shape)
        step = 1e-4 * direction
        along = (loss(theta + step) - 2 * loss(theta) + loss(theta - step)) / 1e-8
        np.testing.assert_allclose(along, direction @ block @ direction, rtol=1e-4, atol=1e-5)


def test_one_example_makes_the_block_a_kronecker_product(rng: np.random.Generator) -> None:
    case = BY_NAME["tanh_deep-log_softmax"]
    true = dense.truth(case, case.values(rng), case.batch(rng, 1))
    for layer in true.layers.values():
        product = np.kron(layer.Q, layer.G)
        np.testing.assert_allclose(product, layer.gauss_newton_block, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("head", training.HEADS)
def test_the_numpy_heads_agree_with_autodiff(head: str, rng: np.random.Generator) -> None:
    case = BY_NAME[f"one_layer-{head}"]
    values, (x, y) = case.values(rng), case.batch(rng, 4)
    true = dense.truth(case, values, (x, y))
    loss, gradient, hessian = training.HEADS[head](true.output, y)
    np.testing.assert_allclose(loss, true.loss, rtol=EXACT)
    np.testing.assert_allclose(gradient, true.output_gradient, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(hessian, true.output_hessian, rtol=EXACT, atol=EXACT)


def test_the_numpy_gradient_agrees_with_autodiff(rng: np.random.Generator) -> None:
    case = BY_NAME["tanh-half_rows"]
    values, (x, y) = case.values(rng), case.batch(rng, 4)
    weights, biases = chain_arrays(case, values)
    run = recursions.forward(weights, biases, ("tanh",), x)
    by_hand = recursions.gradients(run, weights, training.squared_error(run.output, y)[1])
    for spec, slope in zip(case.layers, by_hand, strict=True):
        theta = dense.flatten(spec, values)

        def loss(theta: jax.Array, spec: LayerSpec = spec) -> jax.Array:
            changed = dense.replace(case.net, spec, values, theta)
            return jax_loss(case.loss, jax_output(case.net, changed, x), y)

        np.testing.assert_allclose(
            jax.grad(loss)(theta), slope.reshape(-1), rtol=EXACT, atol=EXACT
        )


def test_pi_balances_the_mean_eigenvalues() -> None:
    Q, G = np.diag([8.0, 8.0]), np.diag([1.0, 2.0, 3.0])
    assert kronecker.balance(Q, G) == pytest.approx(2.0)
    assert kronecker.balance(np.zeros((2, 2)), G) == 1.0
    assert kronecker.balance(Q, np.zeros((3, 3))) == 1.0


def test_the_residual_recursion_is_exact_with_one_example(rng: np.random.Generator) -> None:
    W, b, root = rng.normal(size=(3, 3)), rng.uniform(size=(1, 3)), rng.normal(size=(3, 3))
    G = root @ root.T
    at_h, at_u = recursions.kfra_residual(W, b, G)
    jacobian = np.eye(3) + W @ np.diag(b[0])
    np.testing.assert_allclose(at_u, jacobian @ G @ jacobian.T, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(at_h, np.diag(b[0]) @ G @ np.diag(b[0]), rtol=EXACT, atol=EXACT)
