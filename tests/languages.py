"""Two readings of one formula: a net or a loss as PyTensor graph or as JAX function.

A net or a loss is a function whose first argument ``m`` is one of the namespaces made here. With
:data:`PYTENSOR` it builds the graph that a user would write; with :func:`jax_language` it
computes in JAX, the independent judge. ``m.tap(name, h, a)`` marks the pre-activation ``h`` of
the layer whose weight is ``name`` and whose input is ``a``: it is nothing in PyTensor, while in
JAX it records both and adds the perturbation by which ``h`` is differentiated.
"""

from __future__ import annotations

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


PYTENSOR = SimpleNamespace(
    **{
        name: getattr(pt, name) for name in ("exp", "log", "tanh", "cosh", "abs", "sqr", "maximum")
    },
    **{name: getattr(pt, name) for name in ("sigmoid", "softplus", "log1p", "switch", "where")},
    **{name: getattr(pt, name) for name in ("dot", "tensordot", "concatenate", "arange", "erf")},
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
        **{name: getattr(jnp, name) for name in ("exp", "log", "tanh", "cosh", "abs", "maximum")},
        **{name: getattr(jnp, name) for name in ("log1p", "where", "dot", "tensordot", "arange")},
        sqr=jnp.square,
        switch=jnp.where,
        concatenate=jnp.concatenate,
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
