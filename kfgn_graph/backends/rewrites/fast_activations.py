r"""A rewrite of float32 tanh, sigmoid and softplus to arithmetic that compilers vectorise.

Calls of the C library's tanhf, expf and log1pf are not vectorised. Modes that include
:data:`FAST_ACTIVATIONS` evaluate

.. math::

    \tanh x &= x\,\frac{135135 + 17325 x^2 + 378 x^4 + x^6}
    {135135 + 62370 x^2 + 3150 x^4 + 28 x^6},
    \qquad \tanh 2x = \frac{2 \tanh x}{1 + \tanh^2 x}, \\
    e^{-x} &= 2^{-k} e^r, \qquad r = k \log 2 - x \in [-\tfrac{\log 2}{2}, \tfrac{\log 2}{2}], \\
    \log(1 + e^x) &= \max(x, 0) + 2\,\mathrm{artanh}\frac{u}{2 + u},\qquad u = e^{-|x|},

The rational function of tanh is Lambert's continued fraction, truncated after seven terms; it is
applied to an eighth of the argument, and the second identity three times to the result.
:math:`e^r` and artanh are polynomials that interpolate at Chebyshev points. The sigmoid is a
quotient in u. The errors are a few ulp. Functions of float64 are unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor.scalar as ps
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.scalar.basic import ScalarConstant, ScalarVariable
from pytensor.tensor.elemwise import Elemwise

#: The tag of the rewrite, for ``Mode.including``.
FAST_ACTIVATIONS = "kfgn_fast_activations"

#: Position: after stabilisation and specialisation, before elementwise Ops are fused.
BEFORE_FUSION = 48.0

#: Number of times that the argument of tanh is halved.
DOUBLINGS = 3

#: Arguments from which tanh is 1 in float32.
LAST = 10.0

#: Arguments from which exp(-x) is replaced by 0, which is k = 127.
VANISHING = 88.1

#: log 2 as the sum of a number of 9 bits, whose product with every k is exact, and a remainder.
LOG_2 = (0.693359375, np.log(2) - 0.693359375)


def interpolated(f: Callable[[Any], Any], degree: int, low: float, high: float) -> list[float]:
    """Return the coefficients of the interpolation of f at the Chebyshev points of an interval."""
    series = np.polynomial.Chebyshev.interpolate(f, degree, [low, high])
    return list(series.convert(kind=np.polynomial.Polynomial).coef)


#: e^r for abs(r) <= log(2) / 2, and artanh(s) / s as a function of s^2 <= 1/9.
EXPONENTIAL = interpolated(np.exp, 6, -np.log(2) / 2, np.log(2) / 2)
ARTANH = interpolated(lambda square: np.arctanh(np.sqrt(square)) / np.sqrt(square), 4, 0, 1 / 9)


class Single(ps.ScalarType):
    """A float32 type whose literals in C are floats; those of PyTensor are doubles."""

    def c_literal(self, data: np.float32) -> str:
        """Return the C literal of a number."""
        return f"{super().c_literal(data)}f"


def number(value: float) -> ScalarConstant:
    """Return a float32 constant."""
    return ScalarConstant(Single("float32"), np.float32(value))


class NegativePowerOfTwo(ps.UnaryScalarOp):
    """2^-k of an int32 k from -127 to 126, from the bits of the exponent; 0 for k = 127."""

    def impl(self, k: Any) -> np.float32:
        """Evaluate for one number."""
        return np.float32(0 if k == 127 else 2.0 ** -int(k))

    def c_code(
        self, node: Apply, name: str, inputs: list[str], outputs: list[str], sub: dict[str, str]
    ) -> str:
        """Return C code that reinterprets the bits of an integer as a float32."""
        (k,), (z,) = inputs, outputs
        return f"{{ npy_int32 bits = (127 - {k}) << 23; memcpy(&{z}, &bits, sizeof(bits)); }}"

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Return the version of the C code."""
        return (1,)


negative_power_of_two = NegativePowerOfTwo(
    ps.specific_out(ps.float32), name="negative_power_of_two"
)


def fast_tanh(x: ScalarVariable) -> ScalarVariable:
    """Return tanh(x) of a float32 scalar."""
    one, two, last = number(1), number(2), number(LAST)
    bound = ps.switch(ps.gt(x, number(0)), last, -last)
    part = ps.switch(ps.gt(abs(x), last), bound, x) * number(2.0**-DOUBLINGS)
    square = part * part
    t = part * polynomial(square, [135135, 17325, 378, 1])
    t = t / polynomial(square, [135135, 62370, 3150, 28])
    for _ in range(DOUBLINGS):
        t = two * t / (one + t * t)
    return t


def fast_exp_of_negative(x: ScalarVariable) -> ScalarVariable:
    """Return exp(-x) of a nonnegative float32 scalar."""
    last = number(VANISHING)
    bounded = ps.switch(ps.gt(x, last), last, x)
    k = ps.cast(bounded * number(1 / np.log(2)) + number(0.5), "int32")
    times = ps.cast(k, "float32")
    r = (times * number(LOG_2[0]) - bounded) + times * number(LOG_2[1])
    return negative_power_of_two(k) * polynomial(r, EXPONENTIAL)


def fast_sigmoid(x: ScalarVariable) -> ScalarVariable:
    """Return 1 / (1 + exp(-x)) of a float32 scalar."""
    one = number(1)
    u = fast_exp_of_negative(abs(x))
    return ps.switch(ps.gt(x, number(0)), one, u) / (one + u)


def fast_softplus(x: ScalarVariable) -> ScalarVariable:
    """Return log(1 + exp(x)) of a float32 scalar."""
    zero, two = number(0), number(2)
    u = fast_exp_of_negative(abs(x))
    s = u / (two + u)
    return ps.switch(ps.gt(x, zero), x, zero) + two * s * polynomial(s * s, ARTANH)


def polynomial(x: ScalarVariable, coefficients: list[float]) -> ScalarVariable:
    """Evaluate a polynomial by Horner's rule; the constant term comes first."""
    *lower, value = (number(c) for c in coefficients)
    for c in reversed(lower):
        value = c + x * value
    return value


def composed(fast: Callable[[ScalarVariable], ScalarVariable]) -> Elemwise:
    """Return the elementwise Op of a function of float32 scalars."""
    x = ps.float32("x")
    return Elemwise(ps.Composite([x], [fast(x)]))


FAST = {
    ps.Tanh: composed(fast_tanh),
    ps.Sigmoid: composed(fast_sigmoid),
    ps.Softplus: composed(fast_softplus),
}


@node_rewriter([Elemwise])
def fast_activation(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Replace tanh, sigmoid or softplus of float32."""
    fast = FAST.get(type(node.op.scalar_op))
    (x, *_) = node.inputs
    if fast is None or x.type.dtype != "float32" or node.outputs[0].type.dtype != "float32":
        return None
    return [fast(x)]


optdb.register(
    FAST_ACTIVATIONS, dfs_rewriter(fast_activation, ignore_newtrees=True), position=BEFORE_FUSION
)
