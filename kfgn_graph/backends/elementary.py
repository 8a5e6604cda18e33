r"""tanh and softplus of float32 by arithmetic and one exponential, which compilers make fast.

The C library's tanhf and log1pf take ten times as long as its expf, and on two cores a pass
over the activations then costs as much as some of the products. XLA has fast ones of its own.
Modes that include :data:`FAST_ELEMENTARY` compute them so:

.. math::

    \tanh x &= x\,\frac{945 + 105 x^2 + x^4}{945 + 420 x^2 + 15 x^4}
    \;\text{near 0, else}\; 1 - \frac{2}{e^{2x} + 1} \\
    \log(1 + e^x) &= \max(x, 0) + 2\,\mathrm{artanh}\frac{u}{2 + u},\quad u = e^{-|x|}

with Lambert's continued fraction cut off after five terms, and artanh's series. Both are within a
few units in the last place; float64 is left alone.
"""

from __future__ import annotations

import numpy as np
import pytensor.scalar as ps
import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

#: The tag of the rewrite, for ``Mode.including``.
FAST_ELEMENTARY = "kfgn_fast_elementary"

#: After stabilisation and specialisation, before elementwise Ops are fused.
BEFORE_FUSION = 48.0

#: Below this the fraction is exact to float32; above, the exponential loses nothing.
NEAR = 0.625

#: Terms of artanh's series, whose argument is at most 1/3.
TERMS = 8


def fast_tanh(x: TensorVariable) -> TensorVariable:
    """Return tanh of a float32 tensor."""
    one, two = np.float32(1), np.float32(2)
    square = x * x
    above = polynomial(square, [945, 105, 1])
    below = polynomial(square, [945, 420, 15])
    far = one - two / (pt.exp(two * x) + one)
    return pt.switch(pt.lt(abs(x), np.float32(NEAR)), x * above / below, far)


def fast_softplus(x: TensorVariable) -> TensorVariable:
    """Return log(1 + exp(x)) of a float32 tensor."""
    two = np.float32(2)
    u = pt.exp(-abs(x))
    s = u / (two + u)
    series = polynomial(s * s, [1 / (2 * k + 1) for k in range(TERMS)])
    return pt.maximum(x, np.float32(0)) + two * s * series


def polynomial(x: TensorVariable, coefficients: list[float]) -> TensorVariable:
    """Return a polynomial's value by Horner's rule, the constant term first in the list."""
    *lower, value = (np.float32(c) for c in coefficients)
    for c in reversed(lower):
        value = c + x * value
    return value


FAST = {ps.Tanh: fast_tanh, ps.Softplus: fast_softplus}


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
