r"""tanh and softplus of float32 by arithmetic, which compilers vectorise.

The C library's tanhf and log1pf go number by number, and on two cores a pass over the activations
then costs as much as some of the products. XLA has fast ones of its own. Modes that include
:data:`FAST_ELEMENTARY` compute

.. math::

    \tanh x &= x\,\frac{135135 + 17325 x^2 + 378 x^4 + x^6}
    {135135 + 62370 x^2 + 3150 x^4 + 28 x^6},
    \qquad \tanh 2x = \frac{2 \tanh x}{1 + \tanh^2 x}, \\
    \log(1 + e^x) &= \max(x, 0) + 2\,\mathrm{artanh}\frac{u}{2 + u},\qquad u = e^{-|x|},

the first for an eighth of the argument (Lambert's continued fraction, cut off after seven terms),
and artanh by its series. Both are within a few units in the last place; float64 is left alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytensor.scalar as ps
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.scalar.basic import ScalarVariable
from pytensor.tensor.elemwise import Elemwise

#: The tag of the rewrite, for ``Mode.including``.
FAST_ELEMENTARY = "kfgn_fast_elementary"

#: After stabilisation and specialisation, before elementwise Ops are fused.
BEFORE_FUSION = 48.0

#: How often the argument of tanh is halved for Lambert's fraction.
DOUBLINGS = 3

#: From here on tanh is 1 in float32.
LAST = 10.0

#: Terms of artanh's series, whose argument is at most 1/3.
TERMS = 8


def fast_tanh(x: ScalarVariable) -> ScalarVariable:
    """Return tanh of a float32 number."""
    one, two, last = np.float32(1), np.float32(2), np.float32(LAST)
    bound = ps.switch(ps.gt(x, np.float32(0)), last, -last)
    part = ps.switch(ps.gt(abs(x), last), bound, x) * np.float32(2.0**-DOUBLINGS)
    square = part * part
    t = part * polynomial(square, [135135, 17325, 378, 1])
    t = t / polynomial(square, [135135, 62370, 3150, 28])
    for _ in range(DOUBLINGS):
        t = two * t / (one + t * t)
    return t


def fast_softplus(x: ScalarVariable) -> ScalarVariable:
    """Return log(1 + exp(x)) of a float32 number."""
    zero, two = np.float32(0), np.float32(2)
    u = ps.exp(-abs(x))
    s = u / (two + u)
    series = polynomial(s * s, [1 / (2 * k + 1) for k in range(TERMS)])
    return ps.switch(ps.gt(x, zero), x, zero) + two * s * series


def polynomial(x: ScalarVariable, coefficients: list[float]) -> ScalarVariable:
    """Return a polynomial's value by Horner's rule, the constant term first in the list."""
    *lower, value = (np.float32(c) for c in coefficients)
    for c in reversed(lower):
        value = c + x * value
    return value


def composed(fast: Callable[[ScalarVariable], ScalarVariable]) -> Elemwise:
    """Return a function of float32 numbers as an elementwise Op."""
    x = ps.float32("x")
    return Elemwise(ps.Composite([x], [fast(x)]))


FAST = {ps.Tanh: composed(fast_tanh), ps.Softplus: composed(fast_softplus)}


@node_rewriter([Elemwise])
def fast_elementary(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Replace a float32 tanh or softplus."""
    fast = FAST.get(type(node.op.scalar_op))
    (x, *_) = node.inputs
    if fast is None or x.type.dtype != "float32" or node.outputs[0].type.dtype != "float32":
        return None
    return [fast(x)]


optdb.register(
    FAST_ELEMENTARY, dfs_rewriter(fast_elementary, ignore_newtrees=True), position=BEFORE_FUSION
)
