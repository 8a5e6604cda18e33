"""Exact derivatives in NumPy: values carried with their gradient and Hessian in P variables.

A :class:`Jet` follows the rules of calculus for the few operations that a network needs, so that
it computes what a graph means without PyTensor, and without the package under test. A
:class:`Tape` records every intermediate result, and can compute again with some of them replaced
by variables. So derivatives in a hidden variable are those in a parameter, taken elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Array = np.ndarray
Linear = Callable[[Array, int], Array]
"""A linear map of the trailing axes of an array, given the number of leading ones."""


class Tape:
    """The results of one computation.

    Parameters
    ----------
    count : int
        P, the number of variables.
    order : {0, 1, 2}
        The order of the derivatives.
    seeds : mapping, optional
        From the position of a result to the first of its elements among the variables: the
        result is a variable, instead of a function of others.
    """

    def __init__(self, count: int, order: int, seeds: dict[int, int] | None = None) -> None:
        self.count, self.order, self.seeds = count, order, seeds or {}
        self.results: list[Jet] = []
        self.ties = False

    def variable(self, value: Array, start: int | None) -> Jet:
        """Return a value as the variables from ``start`` on, or as a constant if None."""
        value = np.asarray(value, "float64")
        first = None
        if start is not None and self.order:
            first = np.zeros((self.count, value.size))
            first[start + np.arange(value.size), np.arange(value.size)] = 1.0
            first = first.reshape((self.count, *value.shape))
        return Jet(self, value, first, None)

    def result(self, value: Array, first: Array | None, second: Array | None) -> Jet:
        """Record a result, and return it or the variables that replace it."""
        jet = Jet(self, np.asarray(value, "float64"), first, second)
        start = self.seeds.get(len(self.results))
        if start is not None:
            jet = self.variable(jet.value, start)
        self.results.append(jet)
        return jet


class Jet:
    """A value with its first derivatives (P, ...) and second ones (P, P, ...); None is zero."""

    __array_ufunc__ = None

    def __init__(
        self, tape: Tape, value: Array, first: Array | None, second: Array | None
    ) -> None:
        self.tape, self.value, self.first, self.second = tape, value, first, second

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """The number of axes of the value."""
        return self.value.ndim

    def gradient(self) -> Array:
        """Return the first derivatives, (P, ...), zeros if there are none."""
        return np.zeros((self.tape.count, *self.shape)) if self.first is None else self.first

    def hessian(self) -> Array:
        """Return the second derivatives, (P, P, ...), zeros if there are none."""
        p = self.tape.count
        return np.zeros((p, p, *self.shape)) if self.second is None else self.second

    def __add__(self, other: Any) -> Jet:
        return add(self, other)

    def __sub__(self, other: Any) -> Jet:
        return add(self, negated(other))

    def __rsub__(self, other: Any) -> Jet:
        return add(other, negated(self))

    def __mul__(self, other: Any) -> Jet:
        return product(self, other, np.multiply)

    def __truediv__(self, other: Any) -> Jet:
        return product(self, reciprocal(other), np.multiply)

    def __rtruediv__(self, other: Any) -> Jet:
        return product(reciprocal(self), other, np.multiply)

    def __matmul__(self, other: Any) -> Jet:
        return product(self, other, np.matmul)

    def __rmatmul__(self, other: Any) -> Jet:
        return product(other, self, np.matmul)

    def __neg__(self) -> Jet:
        return negated(self)

    def __pow__(self, power: float) -> Jet:
        x = self.value
        return unary(
            self, x**power, power * x ** (power - 1), power * (power - 1) * x ** (power - 2)
        )

    __radd__ = __add__
    __rmul__ = __mul__


def value_of(x: Any) -> Array:
    """Return the value of a jet or of an array."""
    return x.value if isinstance(x, Jet) else np.asarray(x)


def linear(x: Any, apply: Linear) -> Any:
    """Apply a linear map to the trailing axes of a jet or of an array."""
    if not isinstance(x, Jet):
        return apply(np.asarray(x), 0)
    parts = [None if d is None else apply(d, k) for k, d in ((1, x.first), (2, x.second))]
    return x.tape.result(apply(x.value, 0), *parts)


def unary(x: Jet, value: Array, by: Array, twice: Array) -> Jet:
    """Return f(x) elementwise, given f, f' and f'' there."""
    first = second = None
    if x.first is not None:
        first = by * x.first
        if x.tape.order > 1:
            second = twice * x.first[:, None] * x.first[None]
            if x.second is not None:
                second = second + by * x.second
    return x.tape.result(value, first, second)


def negated(x: Any) -> Any:
    """Return -x."""
    return linear(x, lambda a, k: -a) if isinstance(x, Jet) else -np.asarray(x, "float64")


def reciprocal(x: Any) -> Any:
    """Return 1 / x."""
    if not isinstance(x, Jet):
        return 1.0 / np.asarray(x, "float64")
    v = x.value
    return unary(x, 1 / v, -1 / v**2, 2 / v**3)


def add(a: Any, b: Any) -> Jet:
    """Return a + b, broadcast."""
    shape = np.broadcast_shapes(np.shape(value_of(a)), np.shape(value_of(b)))
    tape = next(x.tape for x in (a, b) if isinstance(x, Jet))
    parts = []
    for lead, name in ((1, "first"), (2, "second")):
        found = [
            _broadcast(getattr(x, name), lead, shape)
            for x in (a, b)
            if isinstance(x, Jet) and getattr(x, name) is not None
        ]
        parts.append(sum(found[1:], start=found[0]) if found else None)
    return tape.result(value_of(a) + value_of(b), *parts)


def _broadcast(d: Array, lead: int, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(_padded(d, lead, len(shape)), (*d.shape[:lead], *shape))


def _padded(d: Array, lead: int, ndim: int) -> Array:
    """Insert axes of length 1 after the leading ones, so that ``ndim`` axes follow."""
    return d.reshape((*d.shape[:lead], *[1] * (ndim - d.ndim + lead), *d.shape[lead:]))


def product(a: Any, b: Any, times: Callable[..., Array]) -> Jet:
    """Return a product of two jets or arrays, bilinear: elementwise or of matrices."""
    if times is np.matmul and np.ndim(value_of(b)) == 1:
        return linear(product(a, _column(b), times), lambda d, k: d[..., 0])
    tape = next(x.tape for x in (a, b) if isinstance(x, Jet))
    ndim = max(np.ndim(value_of(a)), np.ndim(value_of(b)))
    (x0, x1, x2), (y0, y1, y2) = (_parts(v, ndim) for v in (a, b))
    first, second = _total([(x1, y0), (x0, y1)], times), None
    if tape.order > 1:
        second = _total([(x2, y0), (x0, y2)], times)
        if x1 is not None and y1 is not None:
            mixed = times(x1[:, None], y1[None])
            mixed = mixed + mixed.swapaxes(0, 1)
            second = mixed if second is None else second + mixed
    return tape.result(times(value_of(a), value_of(b)), first, second)


def _column(x: Any) -> Any:
    return linear(x, lambda d, k: d[..., None])


def _parts(x: Any, ndim: int) -> tuple[Array, Array | None, Array | None]:
    """Return the value and the derivatives, each with ``ndim`` axes after its leading ones."""
    if not isinstance(x, Jet):
        return _padded(np.asarray(x, "float64"), 0, ndim), None, None
    first, second = (
        None if d is None else _padded(d, lead, ndim) for lead, d in ((1, x.first), (2, x.second))
    )
    return _padded(x.value, 0, ndim), first, second


def _total(
    pairs: Iterable[tuple[Array | None, Array | None]], times: Callable[..., Array]
) -> Array | None:
    found = [times(a, b) for a, b in pairs if a is not None and b is not None]
    return sum(found[1:], start=found[0]) if found else None
