"""Conjugate gradients over vectors of all parameters, with Martens' stopping rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.conditional import choose
from kfgn_graph.linalg.vectors import Values, inner

#: Iterations over which progress is measured: at least so many, and this share of all so far.
WINDOW, WINDOW_SHARE = 10, 0.1


def conjugate_gradients(
    product: Callable[[Values], Values],
    b: Values,
    start: Values,
    iterations: int,
    tolerance: float,
    divisor: Values | None = None,
) -> Values:
    r"""Return x of A x = b, stopped by Martens' rule.

    The rule watches :math:`\phi(x) = \frac{1}{2} x^T A x - b^T x`; see :class:`HessianFree`.

    Parameters
    ----------
    product : callable
        x to A x, for a symmetric positive definite A.
    b, start : Values
        The right side, and where to start.
    iterations, tolerance
        See :class:`HessianFree`.
    divisor : Values, optional
        The diagonal preconditioner.
    """
    parameters = list(b)
    count = len(parameters)
    dtype = b[parameters[0]].type.dtype
    half, zero, one = (np.asarray(number, dtype) for number in (0.5, 0, 1))

    def preconditioned(r: Values) -> Values:
        return r if divisor is None else {p: r[p] / divisor[p] for p in r}

    def named(values: tuple[TensorVariable, ...]) -> Values:
        return dict(zip(parameters, values, strict=True))

    def model(x: Values, r: Values) -> TensorVariable:
        return -half * (inner(x, r) + inner(x, b))

    def step(i: TensorVariable, *carried: TensorVariable) -> list[TensorVariable]:
        x, r, d = (named(carried[k * count : (k + 1) * count]) for k in range(3))
        rho, history, done = carried[3 * count :]
        image = product(d)
        curvature = inner(d, image)
        length = rho / pt.switch(pt.gt(curvature, zero), curvature, np.asarray(np.inf, dtype))
        x_new = {p: x[p] + length * d[p] for p in x}
        r_new = {p: r[p] - length * image[p] for p in r}
        y = preconditioned(r_new)
        rho_new = inner(r_new, y)
        ratio = rho_new / pt.switch(pt.gt(rho, zero), rho, one)
        d_new = {p: y[p] + ratio * d[p] for p in d}
        history_new = pt.set_subtensor(history[i + 1], model(x_new, r_new))
        stop = (
            pt.le(rho_new, zero)
            | pt.le(curvature, zero)
            | little_progress(history_new, i + 1, tolerance)
        )
        new = [*x_new.values(), *r_new.values(), *d_new.values(), rho_new, history_new, stop]
        return choose(done, list(carried), new)

    r = {p: b[p] - image for p, image in product(start).items()}
    y = preconditioned(r)
    rho = inner(r, y)
    history = pt.set_subtensor(pt.zeros((iterations + 1,), dtype=dtype)[0], model(start, r))
    first = [*start.values(), *r.values(), *y.values(), rho, history, pt.le(rho, zero)]
    iterates = pytensor.scan(
        step,
        sequences=[pt.arange(iterations)],
        outputs_info=first,
        return_updates=False,
        return_list=True,
    )
    return {
        p: pt.specify_shape(v[-1], p.type.shape)
        for p, v in zip(parameters, iterates, strict=False)
    }


def little_progress(
    history: TensorVariable, i: TensorVariable, tolerance: float
) -> TensorVariable:
    """Return whether Martens' rule stops after iteration i, given phi of all so far."""
    dtype = history.type.dtype
    window = pt.maximum(WINDOW, (np.asarray(WINDOW_SHARE, dtype) * i).astype("int64"))
    earlier = history[pt.maximum(i - window, 0)]
    now = history[i]
    gained = (now - earlier) / pt.switch(pt.lt(now, 0), now, np.asarray(1, dtype))
    enough = window.astype(dtype) * np.asarray(tolerance, dtype)
    return pt.gt(i, window) & pt.lt(now, 0) & pt.lt(gained, enough)
