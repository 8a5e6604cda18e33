"""The Gauss-Newton matrix of any loss of any outputs, dense: J^T H_L J with H_L made definite."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

Arrays = Sequence[np.ndarray]


def gauss_newton(
    forward: Callable[..., list[jax.Array]], loss: Callable[..., jax.Array], params: Arrays
) -> np.ndarray:
    """Return the matrix over all parameters, flattened and concatenated, in float64.

    Parameters
    ----------
    forward : callable
        From the parameters to the list of the network's outputs, examples leading.
    loss : callable
        From the list of outputs to the loss.
    params : sequence of arrays
        The parameters.
    """
    params = [jnp.asarray(p, "float64") for p in params]
    shapes = [z.shape for z in forward(*params)]

    def flat(*values: jax.Array) -> jax.Array:
        return jnp.concatenate([z.ravel() for z in forward(*values)])

    def loss_of(z: jax.Array) -> jax.Array:
        ends = np.cumsum([np.prod(s) for s in shapes]).astype(int)
        return loss([p.reshape(s) for p, s in zip(jnp.split(z, ends[:-1]), shapes, strict=True)])

    jacobians = jax.jacobian(flat, argnums=tuple(range(len(params))))(*params)
    J = np.concatenate([np.asarray(j).reshape(j.shape[0], -1) for j in jacobians], axis=1)
    values, vectors = np.linalg.eigh(np.asarray(jax.hessian(loss_of)(flat(*params))))
    H = (vectors * np.maximum(values, 0)) @ vectors.T
    return np.asarray(J.T @ H @ J)
