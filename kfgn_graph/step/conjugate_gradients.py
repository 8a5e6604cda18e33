"""Conjugate gradients over vectors of all parameters, with Martens' stopping rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.conditional import choose
from kfgn_graph.linalg.vectors import Values, inner

#: Progress is measured over at least this number of iterations, and this share of those so far.
WINDOW, WINDOW_SHARE = 10, 0.1


def conjugate_gradients(
    product: Callable[[Values], Values],
    b: Values,
    start: Values,
    iterations: int,
    tolerance: float,
    divisor: Values | None = None,
) -> Values:
    r"""Return the solution x of A x = b.

    The iterations stop when :math:`\phi(x) = \frac{1}{2} x^T A x - b^T x` no longer decreases
    enough: see :class:`HessianFree`.

    Parameters
    ----------
    product : callable
        The map from x to A x, for a symmetric positive definite A.
    b, start : Values
        The right-hand side and the first iterate.
    iterations, tolerance
        See :class:`HessianFree`.
    divisor : Values, optional
        The diagonal preconditioner.
    """
    return System(product, b, iterations, tolerance, divisor).solution(start)


@dataclass(frozen=True, eq=False)
class System:
    """The system A x = b; see :func:`conjugate_gradients` for the attributes."""

    product: Callable[[Values], Values]
    b: Values
    iterations: int
    tolerance: float
    divisor: Values | None

    @property
    def _dtype(self) -> str:
        dtype: str = next(iter(self.b.values())).type.dtype
        return dtype

    def solution(self, start: Values) -> Values:
        """Return the last iterate."""
        iterates = pytensor.scan(
            self._step,
            sequences=[pt.arange(self.iterations)],
            outputs_info=self._first(start),
            return_updates=False,
            return_list=True,
        )
        return {
            p: pt.specify_shape(v[-1], p.type.shape)
            for p, v in zip(self.b, iterates, strict=False)
        }

    def _first(self, start: Values) -> list[TensorVariable]:
        """Return x, the residual r, the direction d, rho, the history of phi, and a flag."""
        r = {p: self.b[p] - image for p, image in self.product(start).items()}
        y = self._preconditioned(r)
        rho = inner(r, y)
        empty = pt.zeros((self.iterations + 1,), dtype=self._dtype)
        history = pt.set_subtensor(empty[0], self._model(start, r))
        return [*start.values(), *r.values(), *y.values(), rho, history, pt.le(rho, self._zero)]

    def _step(self, i: TensorVariable, *carried: TensorVariable) -> list[TensorVariable]:
        """Return the next iteration; the last one again once the flag is set."""
        n = len(self.b)
        x, r, d = (self._named(carried[k * n : (k + 1) * n]) for k in range(3))
        rho, history, done = carried[3 * n :]
        image = self.product(d)
        curvature = inner(d, image)
        infinite = np.asarray(np.inf, self._dtype)
        length = rho / pt.switch(pt.gt(curvature, self._zero), curvature, infinite)
        x_new = {p: x[p] + length * d[p] for p in x}
        r_new = {p: r[p] - length * image[p] for p in r}
        y = self._preconditioned(r_new)
        rho_new = inner(r_new, y)
        ratio = rho_new / pt.switch(pt.gt(rho, self._zero), rho, np.asarray(1, self._dtype))
        d_new = {p: y[p] + ratio * d[p] for p in d}
        history_new = pt.set_subtensor(history[i + 1], self._model(x_new, r_new))
        stop = (
            pt.le(rho_new, self._zero)
            | pt.le(curvature, self._zero)
            | little_progress(history_new, i + 1, self.tolerance)
        )
        new = [*x_new.values(), *r_new.values(), *d_new.values(), rho_new, history_new, stop]
        return choose(done, list(carried), new)

    @property
    def _zero(self) -> np.ndarray:
        return np.asarray(0, self._dtype)

    def _named(self, values: Sequence[TensorVariable]) -> Values:
        return dict(zip(self.b, values, strict=True))

    def _preconditioned(self, r: Values) -> Values:
        return r if self.divisor is None else {p: r[p] / self.divisor[p] for p in r}

    def _model(self, x: Values, r: Values) -> TensorVariable:
        """Return phi at x, whose residual is r."""
        return np.asarray(-0.5, self._dtype) * (inner(x, r) + inner(x, self.b))


def little_progress(
    history: TensorVariable, i: TensorVariable, tolerance: float
) -> TensorVariable:
    """Return whether Martens' rule stops after iteration i, given phi of all iterations so far."""
    dtype = history.type.dtype
    window = pt.maximum(WINDOW, (np.asarray(WINDOW_SHARE, dtype) * i).astype("int64"))
    earlier = history[pt.maximum(i - window, 0)]
    now = history[i]
    gained = (now - earlier) / pt.switch(pt.lt(now, 0), now, np.asarray(1, dtype))
    enough = window.astype(dtype) * np.asarray(tolerance, dtype)
    return pt.gt(i, window) & pt.lt(now, 0) & pt.lt(gained, enough)
