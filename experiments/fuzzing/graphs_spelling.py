"""The vocabulary of the random networks, in PyTensor, in the ways in which users spell it.

Each word has several spellings, drawn at random. Their meanings are in
:mod:`experiments.fuzzing.graphs_meaning`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.special import log_softmax, softmax


class Spelling:
    """The words, and the choices among their spellings.

    Parameters
    ----------
    rng : random.Random
        The source of the choices.
    plain : bool
        Whether each word has its most common spelling.
    """

    def __init__(self, rng: random.Random, plain: bool = False) -> None:
        self.rng, self.plain = rng, plain

    def one_of(self, *spellings: Callable[[], Any]) -> Any:
        """Return one of several expressions; the first one in half of the cases."""
        if self.plain or self.rng.random() < 0.5:
            return spellings[0]()
        return self.rng.choice(spellings)()

    def matmul(self, a: Any, b: Any) -> Any:
        ways: list[Callable[[], Any]] = [lambda: a @ b, lambda: pt.dot(a, b)]
        if a.ndim == b.ndim == 2:
            ways += [
                lambda: pt.tensordot(a, b, axes=[[1], [0]]),
                lambda: (b.T @ a.T).T,
                lambda: pt.einsum("ij,jk->ik", a, b),
                lambda: pt.matmul(a, b),
            ]
        if a.ndim == 3 and b.ndim == 2:
            ways += [
                lambda: pt.tensordot(a, b, axes=[[2], [0]]),
                lambda: pt.tensordot(a, b, axes=1),
                lambda: pt.einsum("nti,ij->ntj", a, b),
                lambda: a @ b[None],
            ]
        if a.ndim == 2 and b.ndim == 1:
            ways += [lambda: (a @ b[:, None])[:, 0], lambda: (a * b[None, :]).sum(axis=1)]
        return self.one_of(*ways)

    def transposed(self, x: Any) -> Any:
        if x.ndim == 3:
            return self.one_of(lambda: x.mT, lambda: x.dimshuffle(0, 2, 1))
        return self.one_of(lambda: x.T, lambda: pt.transpose(x), lambda: x.dimshuffle(1, 0))

    def plus_bias(self, h: Any, b: Any) -> Any:
        ways: list[Callable[[], Any]] = [lambda: h + b, lambda: b + h, lambda: pt.add(h, b)]
        if b.ndim == 1 and h.ndim == 2:
            ways += [
                lambda: h + b[None, :],
                lambda: h + b.dimshuffle("x", 0),
                lambda: h + b[None],
            ]
            if self.rng.random() < 0.1:
                ways += [lambda: h + pt.ones((h.shape[0], 1)) * b, lambda: h - (-b)]
        if b.ndim == 1 and h.ndim == 3:
            ways += [lambda: h + b[None, None, :], lambda: h + b.dimshuffle("x", "x", 0)]
        if b.ndim == 0:
            ways += [lambda: h + b[None], lambda: h + b * pt.ones_like(h)]
        return self.one_of(*ways)

    def total(self, x: Any, axis: int | None = None, keep: bool = False) -> Any:
        if axis is not None or keep:
            return self.one_of(
                lambda: x.sum(axis=axis, keepdims=keep),
                lambda: pt.sum(x, axis=axis if axis is None else axis % x.ndim, keepdims=keep),
            )
        ways: list[Callable[[], Any]] = [lambda: x.sum(), lambda: pt.sum(x)]
        if x.ndim == 2:
            ways += [
                lambda: x.sum(axis=1).sum(),
                lambda: x.sum(axis=0).sum(),
                lambda: x.flatten().sum(),
            ]
        if x.ndim == 1:
            ways += [lambda: pt.dot(pt.ones_like(x), x), lambda: x.sum(axis=0)]
        return self.one_of(*ways)

    def mean(self, x: Any, axis: int | None = None, keep: bool = False) -> Any:
        if axis is not None or keep:
            return x.mean(axis=axis, keepdims=keep)
        ways: list[Callable[[], Any]] = [
            lambda: x.mean(),
            lambda: pt.mean(x),
            lambda: x.sum() / x.size,
        ]
        if x.ndim >= 1:
            ways += [lambda: x.mean(axis=0).mean(), lambda: x.mean(axis=-1).mean()]
            ways += [lambda: pt.sum(x) / pt.cast(pt.prod(x.shape), x.dtype)]
        if x.ndim == 1:
            ways += [lambda: x.sum() / x.shape[0], lambda: x.sum() * (1.0 / x.shape[0])]
        return self.one_of(*ways)

    def examples(self, x: Any) -> Any:
        return x.shape[0]

    def sqr(self, x: Any) -> Any:
        return self.one_of(
            lambda: x**2,
            lambda: pt.sqr(x),
            lambda: x * x,
            lambda: pt.square(x),
            lambda: x**2.0,
            lambda: pt.pow(x, 2),
        )

    def exp(self, x: Any) -> Any:
        return pt.exp(x)

    def log(self, x: Any) -> Any:
        return pt.log(x)

    def sqrt(self, x: Any) -> Any:
        return self.one_of(lambda: pt.sqrt(x), lambda: x**0.5)

    def tanh(self, x: Any) -> Any:
        return self.one_of(
            lambda: pt.tanh(x),
            lambda: 2 * pt.sigmoid(2 * x) - 1,
            lambda: (pt.exp(2 * x) - 1) / (pt.exp(2 * x) + 1),
        )

    def sigmoid(self, x: Any) -> Any:
        return self.one_of(
            lambda: pt.sigmoid(x),
            lambda: 1 / (1 + pt.exp(-x)),
            lambda: 0.5 * (pt.tanh(0.5 * x) + 1),
            lambda: pt.exp(x) / (1 + pt.exp(x)),
            lambda: pt.expit(x),
            lambda: 1.0 - pt.sigmoid(-x),
        )

    def softplus(self, x: Any) -> Any:
        return self.one_of(
            lambda: pt.softplus(x),
            lambda: pt.log1p(pt.exp(x)),
            lambda: pt.log(1 + pt.exp(x)),
            lambda: pt.logaddexp(0.0, x),
            lambda: pt.maximum(x, 0) + pt.log1p(pt.exp(-abs(x))),
            lambda: -pt.log(pt.sigmoid(-x)),
        )

    def absolute(self, x: Any) -> Any:
        return self.one_of(
            lambda: abs(x), lambda: pt.maximum(x, -x), lambda: pt.switch(x > 0, x, -x)
        )

    def power(self, x: Any, exponent: float) -> Any:
        return x**exponent

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        return self.one_of(lambda: pt.switch(condition, a, b), lambda: pt.where(condition, a, b))

    def maximum(self, a: Any, b: Any) -> Any:
        return self.one_of(lambda: pt.maximum(a, b), lambda: pt.switch(pt.ge(a, b), a, b))

    def minimum(self, a: Any, b: Any) -> Any:
        return pt.minimum(a, b)

    def relu(self, x: Any) -> Any:
        return self.one_of(
            lambda: pt.maximum(x, 0),
            lambda: pt.switch(x > 0, x, 0.0),
            lambda: x * (x > 0),
            lambda: 0.5 * (x + abs(x)),
            lambda: pt.clip(x, 0, np.inf),
            lambda: pt.maximum(0.0, x),
        )

    def clip(self, x: Any, low: float, high: float) -> Any:
        return self.one_of(
            lambda: pt.clip(x, low, high), lambda: pt.minimum(pt.maximum(x, low), high)
        )

    def greater(self, x: Any, bound: Any) -> Any:
        return self.one_of(lambda: pt.gt(x, bound), lambda: ~pt.le(x, bound))

    def equal(self, x: Any, other: Any) -> Any:
        return pt.eq(x, other)

    def logsumexp(self, z: Any) -> Any:
        shift = z.max(axis=-1, keepdims=True)
        return self.one_of(
            lambda: pt.logsumexp(z, axis=-1, keepdims=True),
            lambda: pt.log(pt.exp(z).sum(axis=-1, keepdims=True)),
            lambda: pt.log(pt.exp(z - shift).sum(axis=-1, keepdims=True)) + shift,
        )

    def log_softmax(self, z: Any) -> Any:
        return self.one_of(
            lambda: log_softmax(z, axis=-1),
            lambda: z - self.logsumexp(z),
            lambda: pt.log(softmax(z, axis=-1)),
            lambda: pt.log(pt.exp(z) / pt.exp(z).sum(axis=-1, keepdims=True)),
        )

    def softmax(self, z: Any) -> Any:
        return self.one_of(
            lambda: softmax(z, axis=-1),
            lambda: pt.exp(z) / pt.exp(z).sum(axis=-1, keepdims=True),
            lambda: pt.exp(log_softmax(z, axis=-1)),
        )

    def pick(self, x: Any, labels: Any, count: int) -> Any:
        y = labels if "int" in labels.dtype else pt.cast(labels, "int64")
        return self.one_of(
            lambda: x[pt.arange(y.shape[0]), y],
            lambda: x[pt.arange(x.shape[0]), y],
            lambda: pt.take_along_axis(x, pt.cast(y, "int64")[:, None], axis=1)[:, 0],
            lambda: (x * pt.eq(y[:, None], np.arange(count))).sum(axis=1),
            lambda: pt.switch(pt.eq(pt.arange(count)[None, :], y[:, None]), x, 0.0).sum(axis=1),
        )

    def one_hot(self, labels: Any, count: int) -> Any:
        y = labels if "int" in labels.dtype else pt.cast(labels, "int64")
        return self.one_of(
            lambda: pt.eye(count)[y],
            lambda: pt.eq(y[..., None], pt.arange(count)),
            lambda: pt.cast(pt.eq(y[..., None], np.arange(count)), "int8"),
        )

    def largest(self, x: Any) -> Any:
        return self.one_of(lambda: x.max(axis=-1), lambda: pt.max(x, axis=-1))

    def multiplied(self, x: Any) -> Any:
        return x.prod(axis=-1)

    def column(self, x: Any, k: int) -> Any:
        return self.one_of(lambda: x[..., k], lambda: x[..., k : k + 1].sum(axis=-1))

    def columns(self, x: Any, start: int, stop: int) -> Any:
        return self.one_of(
            lambda: x[..., start:stop],
            lambda: x[(*[slice(None)] * (x.ndim - 1), slice(start, stop))],
            lambda: x[..., list(range(start, stop))],
        )

    def position(self, x: Any, t: int) -> Any:
        return x[:, t]

    def joined(self, parts: Sequence[Any]) -> Any:
        return self.one_of(
            lambda: pt.concatenate(parts, axis=parts[0].ndim - 1),
            lambda: pt.concatenate(parts, axis=-1),
            lambda: pt.join(parts[0].ndim - 1, *parts),
        )

    def tokens(self, x: Any) -> Any:
        return self.one_of(
            lambda: x.reshape((-1, x.shape[2])),
            lambda: x.reshape((x.shape[0] * x.shape[1], x.shape[2])),
            lambda: pt.join_dims(x, 0, 2),
        )

    def from_tokens(self, h: Any, like: Any, length: int) -> Any:
        return self.one_of(
            lambda: h.reshape((like.shape[0], like.shape[1], h.shape[1])),
            lambda: h.reshape((like.shape[0], like.shape[1], -1)),
            lambda: h.reshape((-1, length, h.shape[1])),
            lambda: h.reshape((like.shape[0], length, -1)),
        )

    def flattened(self, x: Any, like: Any, size: int) -> Any:
        return self.one_of(
            lambda: x.reshape((x.shape[0], -1)),
            lambda: x.flatten(2),
            lambda: x.reshape((-1, size)),
            lambda: x.reshape((like.shape[0], size)),
            lambda: x.reshape((x.shape[0], x.shape[1] * x.shape[2])),
        )

    def raveled(self, x: Any) -> Any:
        return self.one_of(lambda: x.flatten(), lambda: x.ravel(), lambda: x.reshape((-1,)))

    def as_column(self, x: Any) -> Any:
        return self.one_of(
            lambda: x[:, None], lambda: x.dimshuffle(0, "x"), lambda: x.reshape((-1, 1))
        )

    def looked_up(self, table: Any, index: Any) -> Any:
        return table[index if "int" in index.dtype else pt.cast(index, "int64")]
