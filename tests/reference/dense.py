"""Dense second derivatives of a case by automatic differentiation, example by example.

For each layer with flattened ``theta = [W; b]`` (row-major, the bias as last row) and for each
position ``m`` (an example, or an example and its place along an extra axis):

* the input ``a_m``, with a 1 appended when there is a bias;
* ``G_m = J^T H_L J``, ``J`` the derivative of the output by the pre-activation ``h_m`` and ``H_L``
  the Hessian of the whole loss by the output, so that the loss's own reduction is inside;
* ``H_m``, the Hessian of the loss by ``h_m``: the paper's pre-activation Hessian, D term included;
* the blocks of the Gauss-Newton matrix and of the Hessian of the loss by ``theta``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from tests.cases import Case, jax_loss, jax_output
from tests.losses import Loss
from tests.nets import LayerSpec, Net

Values = dict[str, np.ndarray]

# Every function runs a few times only: compiling it fast matters more than running it fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclass(frozen=True)
class LayerTruth:
    """What is true of one layer.

    Attributes
    ----------
    inputs : (M, d_in [+ 1])
    gauss_newton, hessian : (M, d_out, d_out)
        Per position, with respect to the pre-activation.
    gauss_newton_block, hessian_block : (D, D), D = (d_in [+ 1]) * d_out
        Of the loss, penalties apart.
    """

    inputs: np.ndarray
    gauss_newton: np.ndarray
    hessian: np.ndarray
    gauss_newton_block: np.ndarray
    hessian_block: np.ndarray

    @property
    def Q(self) -> np.ndarray:
        """The mean over positions of ``a a^T``, Eq. (21)."""
        return np.mean([np.outer(a, a) for a in self.inputs], axis=0)

    @property
    def G(self) -> np.ndarray:
        """The sum over positions of the Gauss-Newton matrix of the pre-activation."""
        return self.gauss_newton.sum(axis=0)


@dataclass(frozen=True)
class Truth:
    """What is true of a case at some parameters and batch."""

    layers: dict[str, LayerTruth]
    output: np.ndarray
    output_gradient: np.ndarray
    output_hessian: np.ndarray
    loss: float


def truth(case: Case, values: Values, batch: tuple[np.ndarray, ...]) -> Truth:
    """Differentiate a case at ``values`` on ``batch``.

    Returns
    -------
    Truth
        ``output_gradient`` is (N, K), ``output_hessian`` (N, K, K), K all elements of one output.
    """
    x, *targets = batch
    z = np.asarray(jax_output(case.net, values, x))
    n, k = z.shape[0], z[0].size
    loss, gradient, hessian = _loss_derivatives(case.loss)(z, *targets)
    gradient = np.asarray(gradient).reshape(n, k)
    per_example = _diagonal_blocks(np.asarray(hessian).reshape(n, k, n, k))
    examples = [
        jax.tree.map(np.asarray, _net_derivatives(case.net)(values, x[i : i + 1], gradient[i]))
        for i in range(n)
    ]
    layers = {
        spec.weight: _layer_truth([e[spec.weight] for e in examples], per_example)
        for spec in case.layers
    }
    return Truth(layers, z, gradient, per_example, float(loss))


def loss_hessians(
    loss: Callable[..., Any], z: np.ndarray, targets: tuple[np.ndarray, ...], example_axes: int
) -> np.ndarray:
    """Return the Hessian of a loss by each example's output, of shape (R, K, K).

    R counts examples, over all ``example_axes`` leading axes of ``z``; K all elements of one
    example's output.
    """
    r = int(np.prod(z.shape[:example_axes]))
    hessian = jax.jit(jax.hessian(loss), compiler_options=QUICK)(z, *targets)
    return _diagonal_blocks(np.asarray(hessian).reshape(r, z.size // r, r, z.size // r))


def _diagonal_blocks(hessian: np.ndarray) -> np.ndarray:
    """Return the (N, K, K) blocks of each example; the rest must vanish, as losses are sums."""
    n = len(hessian)
    blocks = np.stack([hessian[i, :, i, :] for i in range(n)])
    rest = hessian.copy()
    for i in range(n):
        rest[i, :, i, :] = 0.0
    assert not rest.any(), "the loss mixes examples"
    return blocks


@cache
def _loss_derivatives(loss: Loss) -> Any:
    """Compile value, gradient and Hessian of a loss by its output."""

    @partial(jax.jit, compiler_options=QUICK)
    def derivatives(z: Any, *targets: Any) -> Any:
        value = partial(jax_loss, loss)
        return value(z, *targets), jax.grad(value)(z, *targets), jax.hessian(value)(z, *targets)

    return derivatives


def _layer_truth(examples: list[tuple[np.ndarray, ...]], hessian: np.ndarray) -> LayerTruth:
    """Sum over the examples, one after the other."""
    inputs, gauss_newton, second = [], [], []
    block: Any = 0.0
    curvature: Any = 0.0
    for (a, by_theta, by_h, curved_theta, curved_h), H in zip(examples, hessian, strict=True):
        inputs += list(a)
        block = block + by_theta.T @ H @ by_theta
        curvature = curvature + curved_theta
        for m in range(len(a)):
            G = by_h[:, m].T @ H @ by_h[:, m]
            gauss_newton.append(G)
            second.append(G + curved_h[m, :, m, :])
    return LayerTruth(
        np.stack(inputs), np.stack(gauss_newton), np.stack(second), block, block + curvature
    )


@cache
def _net_derivatives(net: Net) -> Any:
    """Compile the derivatives of one example's output by all layers at once.

    By weight, the function returns the layer's inputs (M, d_in [+ 1]), the Jacobians of the K
    outputs by theta (K, D) and by the pre-activation (K, M, d_out), and the second derivatives
    of ``g . output`` by the two.
    """

    @partial(jax.jit, compiler_options=QUICK)
    def derivatives(values: Any, x: Any, g: Any) -> dict[str, tuple[Any, ...]]:
        record: dict[str, tuple[Any, Any]] = {}
        jax_output(net, values, x, record=record)
        thetas = {spec.weight: flatten(spec, values) for spec in net.layers}
        taps = {weight: jnp.zeros_like(h) for weight, (_, h) in record.items()}
        point, unravel = ravel_pytree((thetas, taps))

        def output(point: Any) -> Any:
            thetas, taps = unravel(point)
            changed = values
            for spec in net.layers:
                changed = replace(net, spec, changed, thetas[spec.weight])
            return jax_output(net, changed, x, taps=taps).reshape(-1)

        first = jax.jacrev(output)(point)
        second = jax.hessian(lambda p: g @ output(p))(point)
        places = unravel(jnp.arange(len(point)))
        found = {}
        for spec in net.layers:
            a, h = record[spec.weight]
            t, m = places[0][spec.weight], places[1][spec.weight].reshape(-1)
            positions = (m.size // h.shape[-1], h.shape[-1])
            found[spec.weight] = (
                _with_unit(a.reshape(-1, a.shape[-1]), spec),
                first[:, t],
                first[:, m].reshape(-1, *positions),
                second[t][:, t],
                second[m][:, m].reshape(*positions, *positions),
            )
        return found

    return derivatives


def _with_unit(a: Any, spec: LayerSpec) -> Any:
    """Append a 1 to each row of ``a`` where the layer has a bias."""
    return a if spec.bias is None else jnp.concatenate([a, jnp.ones((len(a), 1))], axis=1)


def flatten(spec: LayerSpec, values: Any) -> Any:
    """Return ``[W; b]`` of a layer, row-major, (d_in, d_out) whatever way the weight is stored."""
    weight = values[spec.weight]
    rows = [weight.T if spec.transposed else weight]
    if spec.bias is not None:
        rows.append(values[spec.bias][None, :])
    return jnp.concatenate(rows).reshape(-1)


def replace(net: Net, spec: LayerSpec, values: Any, theta: Any) -> Any:
    """Return the values with those of one layer taken from its flattened ``[W; b]``."""
    d_out = net.shapes[spec.weight][0 if spec.transposed else 1]
    rows = theta.reshape(-1, d_out)
    if spec.bias is None:
        return values | {spec.weight: rows.T if spec.transposed else rows}
    weight = rows[:-1].T if spec.transposed else rows[:-1]
    return values | {spec.weight: weight, spec.bias: rows[-1]}
