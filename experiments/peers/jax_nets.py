"""The benchmark's networks in JAX, for the scripts beside this file."""

import jax
import jax.numpy as jnp

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}


def logits(parameters, x, activation):
    """Return the last layer's output, linear."""
    hidden = x
    for weight, bias in parameters[:-1]:
        hidden = ACTIVATIONS[activation](hidden @ weight + bias)
    weight, bias = parameters[-1]
    return hidden @ weight + bias


def mean_loss(name, h, y):
    """Return the mean over examples of one of the three losses, as our graphs have them."""
    if name == "bernoulli":
        return jnp.mean(jnp.sum(jax.nn.softplus(h) - y * h, axis=1))
    if name == "squared":
        return jnp.mean(jnp.sum((h - y) ** 2, axis=1)) / 2
    chosen = jnp.take_along_axis(jax.nn.log_softmax(h, axis=1), y[:, None], axis=1)
    return -jnp.mean(chosen)


def make_product(left, right):
    """Return the product of two matrices by XLA, its operands where JAX keeps them."""
    operands = jax.device_put(left), jax.device_put(right)
    product = jax.jit(jnp.matmul)
    return lambda: product(*operands).block_until_ready()
