"""The vocabulary of the random networks, in NumPy: what each word means.

The words take arrays and the jets of :mod:`experiments.fuzzing.graphs_jets`. The module
:mod:`experiments.fuzzing.graphs_spelling` has the same words for PyTensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.fuzzing.graphs_jets import Jet, add, linear, product, unary, value_of

Array = np.ndarray


def matmul(a: Any, b: Any) -> Any:
    """Return a @ b."""
    if not isinstance(a, Jet) and not isinstance(b, Jet):
        return np.asarray(a, "float64") @ b
    if np.ndim(value_of(a)) == np.ndim(value_of(b)) == 1:
        return total(a * b)
    return product(a, b, np.matmul)


def transposed(x: Any) -> Any:
    """Return a matrix, or each of a batch, transposed."""
    return linear(x, lambda d, k: d.swapaxes(-1, -2))


def plus_bias(h: Any, b: Any) -> Any:
    """Return h + b, broadcast."""
    return h + b


def total(x: Any, axis: int | None = None, keep: bool = False) -> Any:
    """Return the sum over an axis, or over all."""

    def apply(d: Array, k: int) -> Array:
        axes = tuple(range(k, d.ndim)) if axis is None else (axis % (d.ndim - k) + k,)
        return d.sum(axis=axes, keepdims=keep)

    return linear(x, apply)


def mean(x: Any, axis: int | None = None, keep: bool = False) -> Any:
    """Return the mean over an axis, or over all."""
    shape = np.shape(value_of(x))
    count = int(np.prod(shape)) if axis is None else shape[axis]
    return total(x, axis, keep) * (1.0 / count)


def examples(x: Any) -> int:
    """Return the length of the leading axis."""
    return int(np.shape(value_of(x))[0])


def sqr(x: Any) -> Any:
    """Return x squared."""
    return unary(x, x.value**2, 2 * x.value, np.full(x.shape, 2.0))


def exp(x: Any) -> Any:
    """Return e to the power of x."""
    e = np.exp(x.value)
    return unary(x, e, e, e)


def log(x: Any) -> Any:
    """Return the natural logarithm."""
    return unary(x, np.log(x.value), 1 / x.value, -1 / x.value**2)


def sqrt(x: Any) -> Any:
    """Return the square root."""
    r = np.sqrt(x.value)
    return unary(x, r, 0.5 / r, -0.25 / r**3)


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    t = np.tanh(x.value)
    return unary(x, t, 1 - t**2, -2 * t * (1 - t**2))


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x))."""
    s = 1 / (1 + np.exp(-x.value))
    return unary(x, s, s * (1 - s), s * (1 - s) * (1 - 2 * s))


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)).

    It has no kink, but one of its spellings, max(x, 0) + log(1 + exp(-|x|)), has two at zero.
    """
    _tie(x, 0.0)
    s = 1 / (1 + np.exp(-x.value))
    return unary(x, np.logaddexp(0, x.value), s, s * (1 - s))


def absolute(x: Any) -> Any:
    """Return the absolute value."""
    sign = np.sign(x.value)
    _tie(x, 0.0)
    return unary(x, np.abs(x.value), sign, 0 * sign)


def power(x: Any, exponent: float) -> Any:
    """Return x to a constant power."""
    return x**exponent


def where(condition: Any, a: Any, b: Any) -> Any:
    """Return a where the condition holds, else b; the other is not looked at, be it infinite."""
    c = np.asarray(value_of(condition), bool)
    shape = np.broadcast_shapes(c.shape, *(np.shape(value_of(v)) for v in (a, b)))
    c = np.broadcast_to(c, shape)
    parts = [
        linear(_spread(v, shape), lambda d, k, m=m: np.where(m, d, 0.0))
        for v, m in ((a, c), (b, ~c))
    ]
    return add(*parts) if any(isinstance(v, Jet) for v in parts) else parts[0] + parts[1]


def _spread(x: Any, shape: tuple[int, ...]) -> Any:
    if np.shape(value_of(x)) == shape:
        return x
    return x + np.zeros(shape)


def maximum(a: Any, b: Any) -> Any:
    """Return the larger of two."""
    _tie(a, b)
    return where(value_of(a) >= value_of(b), a, b)


def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of two."""
    _tie(a, b)
    return where(value_of(a) <= value_of(b), a, b)


def _tie(a: Any, b: Any) -> None:
    """Note a comparison of equal values, where a function has no derivative."""
    for x in (a, b):
        if isinstance(x, Jet) and x.first is not None:
            x.tape.ties |= bool((np.abs(value_of(a) - value_of(b)) < 1e-9).any())


def relu(x: Any) -> Any:
    """Return max(x, 0)."""
    return maximum(x, 0.0)


def clip(x: Any, low: float, high: float) -> Any:
    """Return x between two bounds."""
    return minimum(maximum(x, low), high)


def greater(x: Any, bound: Any) -> Array:
    """Return whether x > bound."""
    _tie(x, bound)
    return value_of(x) > value_of(bound)


def equal(x: Any, other: Any) -> Array:
    """Return whether x equals another."""
    return value_of(x) == value_of(other)


def logsumexp(z: Any) -> Any:
    """Return the logarithm of the sum of exp(z) over the last axis, which is kept."""
    shift = value_of(z).max(axis=-1, keepdims=True)
    return log(total(exp(z - shift), -1, keep=True)) + shift


def log_softmax(z: Any) -> Any:
    """Return log-probabilities over the last axis."""
    return z - logsumexp(z)


def softmax(z: Any) -> Any:
    """Return probabilities over the last axis."""
    return exp(log_softmax(z))


def pick(x: Any, labels: Any, count: int) -> Any:
    """Return the entry of the last of two axes that each row's label names."""
    index = value_of(labels).astype(int)
    return linear(x, lambda d, k: d[..., np.arange(len(index)), index])


def one_hot(labels: Any, count: int) -> Array:
    """Return unit vectors of a length."""
    return np.eye(count)[value_of(labels).astype(int)]


def largest(x: Any) -> Any:
    """Return the maximum over the last axis."""
    if x.shape[-1] > 1:
        ordered = np.sort(x.value, axis=-1)
        _tie(x, ordered[..., -1:] if (ordered[..., -1] == ordered[..., -2]).any() else np.nan)
    index = value_of(x).argmax(axis=-1)[..., None]

    def apply(d: Array, k: int) -> Array:
        chosen = np.broadcast_to(index, (*d.shape[:k], *index.shape))
        return np.take_along_axis(d, chosen, axis=-1)[..., 0]

    return linear(x, apply)


def multiplied(x: Any) -> Any:
    """Return the product over the last axis."""
    result = column(x, 0)
    for k in range(1, x.shape[-1]):
        result = result * column(x, k)
    return result


def column(x: Any, k: int) -> Any:
    """Return one column of the last axis."""
    return linear(x, lambda d, lead: d[..., k])


def columns(x: Any, start: int, stop: int) -> Any:
    """Return columns of the last axis."""
    return linear(x, lambda d, lead: d[..., start:stop])


def position(x: Any, t: int) -> Any:
    """Return one position of (N, T, d)."""
    return linear(x, lambda d, lead: d[..., t, :])


def joined(parts: Sequence[Any]) -> Any:
    """Return arrays joined along the last axis."""
    tape = next(x.tape for x in parts if isinstance(x, Jet))
    results: list[Any] = [np.concatenate([value_of(x) for x in parts], axis=-1)]
    for lead, order in ((1, "first"), (2, "second")):
        found = [getattr(x, order, None) for x in parts]
        if all(d is None for d in found):
            results.append(None)
            continue
        filled = [
            np.zeros((tape.count,) * lead + np.shape(value_of(x))) if d is None else d
            for x, d in zip(parts, found, strict=True)
        ]
        results.append(np.concatenate(filled, axis=-1))
    return tape.result(*results)


def tokens(x: Any) -> Any:
    """Return (N, T, d) as (N T, d)."""
    return linear(x, lambda d, k: d.reshape((*d.shape[:k], -1, d.shape[-1])))


def from_tokens(h: Any, like: Any, length: int) -> Any:
    """Return (N T, d) as (N, T, d)."""
    return linear(h, lambda d, k: d.reshape((*d.shape[:k], -1, length, d.shape[-1])))


def flattened(x: Any, like: Any, size: int) -> Any:
    """Return (N, T, d) as (N, T d)."""
    return linear(x, lambda d, k: d.reshape((*d.shape[: k + 1], -1)))


def raveled(x: Any) -> Any:
    """Return all elements in a vector."""
    return linear(x, lambda d, k: d.reshape((*d.shape[:k], -1)))


def as_column(x: Any) -> Any:
    """Return (N,) as (N, 1)."""
    return linear(x, lambda d, k: d[..., None])


def looked_up(table: Any, index: Any) -> Any:
    """Return the rows of a table that an index names."""
    rows = value_of(index).astype(int)
    return linear(table, lambda d, k: d[(slice(None),) * k + (rows,)])
