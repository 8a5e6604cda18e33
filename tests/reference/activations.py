"""Transfer functions and their first two derivatives in NumPy, written out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import erf, expit

Array = np.ndarray
Derivatives = Callable[[Array], tuple[Array, Array, Array]]


def _identity(h: Array) -> tuple[Array, Array, Array]:
    return h, np.ones_like(h), np.zeros_like(h)


def _tanh(h: Array) -> tuple[Array, Array, Array]:
    a = np.tanh(h)
    return a, 1 - a**2, -2 * a * (1 - a**2)


def _sigmoid(h: Array) -> tuple[Array, Array, Array]:
    s = expit(h)
    return s, s * (1 - s), s * (1 - s) * (1 - 2 * s)


def _softplus(h: Array) -> tuple[Array, Array, Array]:
    s, first, _ = _sigmoid(h)
    return np.logaddexp(0, h), s, first


def _leaky(slope: float) -> Derivatives:
    def derivatives(h: Array) -> tuple[Array, Array, Array]:
        gain = np.where(h > 0, 1.0, slope)
        return gain * h, gain, np.zeros_like(h)

    return derivatives


def _clip(h: Array) -> tuple[Array, Array, Array]:
    inside = (np.abs(h) < 0.7).astype(float)
    return np.clip(h, -0.7, 0.7), inside, np.zeros_like(h)


def _swish(h: Array) -> tuple[Array, Array, Array]:
    s, first, second = _sigmoid(h)
    return h * s, s + h * first, 2 * first + h * second


def _elu(h: Array) -> tuple[Array, Array, Array]:
    e = np.exp(np.minimum(h, 0))
    return np.where(h > 0, h, e - 1), np.where(h > 0, 1, e), np.where(h > 0, 0, e)


def _gelu(h: Array) -> tuple[Array, Array, Array]:
    cumulative = 0.5 * (1 + erf(h / np.sqrt(2)))
    density = np.exp(-(h**2) / 2) / np.sqrt(2 * np.pi)
    return h * cumulative, cumulative + h * density, (2 - h**2) * density


def _softsign(h: Array) -> tuple[Array, Array, Array]:
    d = 1 + np.abs(h)
    return h / d, d**-2, -2 * np.sign(h) * d**-3


def _cubic(h: Array) -> tuple[Array, Array, Array]:
    return h + 0.2 * h**3, 1 + 0.6 * h**2, 1.2 * h


ACTIVATIONS: dict[str, Derivatives] = {
    "identity": _identity,
    "tanh": _tanh,
    "exp_tanh": _tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "relu": _leaky(0.0),
    "relu_switch": _leaky(0.0),
    "leaky": _leaky(0.1),
    "leaky_switch": _leaky(0.1),
    "clip": _clip,
    "swish": _swish,
    "elu": _elu,
    "gelu": _gelu,
    "softsign": _softsign,
    "cubic": _cubic,
}
