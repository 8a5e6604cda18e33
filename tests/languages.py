"""Two readings of one formula: a net or a loss as PyTensor graph or as JAX function.

A net or a loss is a function whose first argument ``m`` is one of the namespaces made here. With
:data:`PYTENSOR` it builds the graph that a user would write; with :func:`jax_language` it
computes in JAX, the independent judge. ``m.tap(name, h, a)`` marks the pre-activation ``h`` of
the layer whose weight is ``name`` and whose input is ``a``: it is nothing in PyTensor, while in
JAX it records both and adds the perturbation by which ``h`` is differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytensor.tensor as pt
from pytensor.tensor.special import log_softmax, softmax


def _pytensor_split(h: Any, sizes: list[int]) -> list[Any]:
    return list(pt.split(h, splits_size=sizes, n_splits=len(sizes), axis=1))


def _jax_split(h: Any, sizes: list[int]) -> list[Any]:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return list(jnp.split(h, ends, axis=1))


# What bears one name in both.
COMMON = (
    *("abs", "arange", "clip", "concatenate", "cosh", "dot", "einsum", "exp", "log", "log1p"),
    *("logaddexp", "maximum", "tanh", "tensordot", "where"),
)

PYTENSOR = SimpleNamespace(
    **{name: getattr(pt, name) for name in COMMON},
    sqr=pt.sqr,
    switch=pt.switch,
    sigmoid=pt.sigmoid,
    softplus=pt.softplus,
    erf=pt.erf,
    logsumexp=lambda z: pt.logsumexp(z, axis=1),
    log_softmax=lambda z: log_softmax(z, axis=-1),
    softmax=lambda z: softmax(z, axis=-1),
    pick=lambda z, y: pt.take_along_axis(z, y[:, None], axis=1)[:, 0],
    split=_pytensor_split,
    tap=lambda name, h, a: h,
)


def jax_language(taps: dict[str, Any], record: dict[str, tuple[Any, Any]]) -> SimpleNamespace:
    """Return the JAX reading.

    Parameters
    ----------
    taps : dict
        What is added to the pre-activation of each layer, by the name of its weight; may be empty.
    record : dict
        Filled with ``(input, preactivation)`` of each layer, by the name of its weight.
    """

    def tap(name: str, h: Any, a: Any) -> Any:
        record[name] = (a, h)
        return h + taps[name] if name in taps else h

    return SimpleNamespace(
        **{name: getattr(jnp, name) for name in COMMON},
        sqr=jnp.square,
        switch=jnp.where,
        sigmoid=jax.nn.sigmoid,
        softplus=jax.nn.softplus,
        erf=jax.scipy.special.erf,
        logsumexp=lambda z: jax.scipy.special.logsumexp(z, axis=1),
        log_softmax=lambda z: jax.nn.log_softmax(z, axis=-1),
        softmax=lambda z: jax.nn.softmax(z, axis=-1),
        pick=lambda z, y: jnp.take_along_axis(z, y[:, None], axis=1)[:, 0],
        split=_jax_split,
        tap=tap,
    )


ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "identity": lambda m, h: h,
    "tanh": lambda m, h: m.tanh(h),
    "sigmoid": lambda m, h: m.sigmoid(h),
    "softplus": lambda m, h: m.softplus(h),
    "relu": lambda m, h: m.maximum(h, 0.0),
    "relu_switch": lambda m, h: m.switch(h > 0, h, 0.0),
    "leaky": lambda m, h: m.maximum(0.1 * h, h),
    "leaky_switch": lambda m, h: m.switch(h > 0, h, 0.1 * h),
    "clip": lambda m, h: m.clip(h, -0.7, 0.7),
    "swish": lambda m, h: h * m.sigmoid(h),
    "exp_tanh": lambda m, h: (m.exp(2 * h) - 1) / (m.exp(2 * h) + 1),
    "elu": lambda m, h: m.switch(h > 0, h, m.exp(h) - 1),
    "gelu": lambda m, h: 0.5 * h * (1 + m.erf(h / math.sqrt(2))),
    "softsign": lambda m, h: h / (1 + m.abs(h)),
    "cubic": lambda m, h: h + 0.2 * h**3,
}

PIECEWISE_LINEAR = {"identity", "relu", "relu_switch", "leaky", "leaky_switch", "clip"}

AFFINE: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "plain": lambda m, a, W, b: a @ W + b,
    "bias_left": lambda m, a, W, b: b + a @ W,
    "dot": lambda m, a, W, b: m.dot(a, W) + b,
    "tensordot": lambda m, a, W, b: m.tensordot(a, W, axes=[[1], [0]]) + b,
    "transposed": lambda m, a, V, b: a @ V.T + b,
    "einsum": lambda m, a, W, b: m.einsum("ni,ij->nj", a, W) + b,
    "columns": lambda m, a, V, b: (V @ a.T).T + b,
    "row_bias": lambda m, a, W, b: a @ W + b[None, :],
    "no_bias": lambda m, a, W, b: a @ W,
}
