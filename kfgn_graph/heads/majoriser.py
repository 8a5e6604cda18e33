r"""A quadratic majoriser of a loss with kinks, about its current outputs.

:math:`|u| \le u^2 / (2 m) + m / 2` with :math:`m = \max(|u_0|, \delta)`, with equality at
:math:`u = \pm m`. The kinks are those of the absolute value, the maximum and the minimum of two
values, a clip, the maximum over an axis, and a choice between two lines by a test of the output.
Iteratively reweighted least squares minimises such majorisers one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytensor.tensor as pt
from pytensor import scalar as ps
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, toposort
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Max, Min
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.linearity import Dependence, dependence
from kfgn_graph.heads.proving import squared_modulus
from kfgn_graph.layers.dtypes import is_float
from kfgn_graph.layers.traversal import dependents

#: A function of the inputs of a node, of their values at the point, and of delta.
Rule = Callable[[Sequence[TensorVariable], Sequence[TensorVariable], float], TensorVariable]


def majorised(
    loss: TensorVariable, z: TensorVariable, point: TensorVariable, delta: float
) -> TensorVariable | None:
    """Return the majoriser of a loss as a function of z, tangent at a point.

    Parameters
    ----------
    loss : scalar TensorVariable
        The loss.
    z : TensorVariable
        The output of the network.
    point : TensorVariable
        A variable of z's type that stands for its current value.
    delta : float
        The least distance from a kink that counts, in the units of the loss's arguments.

    Returns
    -------
    TensorVariable or None
        None if the loss has no kink.
    """
    varying = dependents([loss], [z])
    nodes = [n for n in toposort([loss]) if n.outputs[0] in varying and z not in n.outputs]
    rules = {n: rule for n in nodes if (rule := _rule_of(n, z)) is not None}
    if not rules:
        return None
    read = list(dict.fromkeys(v for n in rules for v in n.inputs))
    fixed = dict(zip(read, graph_replace(read, {z: point}, strict=False), strict=True))
    new: dict[Variable, Variable] = {}
    for node in nodes:
        inputs = [new.get(v, v) for v in node.inputs]
        modulus = squared_modulus(node)
        if node in rules:
            value = rules[node](inputs, [fixed[v] for v in node.inputs], delta)
            new[node.outputs[0]] = value.astype(node.outputs[0].type.dtype)
        elif modulus is not None:
            new[node.outputs[0]] = pt.sqr(new.get(modulus, modulus))
        else:
            copy = node.clone_with_new_inputs(inputs, strict=False)
            new.update(zip(node.outputs, copy.outputs, strict=True))
    return new[loss]


def _rule_of(node: Apply, z: TensorVariable) -> Rule | None:
    """Return the rule of a node with a kink in z, else None."""
    if not is_float(node.outputs[0]):
        return None
    if isinstance(node.op, Max | Min):
        axes, sign = node.op.axis, 1 if isinstance(node.op, Max) else -1
        return lambda u, u0, delta: _largest(u[0], u0[0], axes, sign, delta)
    if not isinstance(node.op, Elemwise):
        return None
    if isinstance(node.op.scalar_op, ps.Switch):
        return _switch if _is_kink(node.inputs[0], node.inputs[1:], z) else None
    if isinstance(node.op.scalar_op, ps.Mul):
        tests = [k for k, v in enumerate(node.inputs) if _is_truth(v) and z in ancestors([v])]
        others = [v for k, v in enumerate(node.inputs) if k not in tests]
        kink = len(tests) == 1 and _is_kink(node.inputs[tests[0]], others, z)
        return partial(_masked, tests[0]) if kink else None
    return RULES.get(type(node.op.scalar_op))


def _is_kink(test: Variable, branches: Sequence[Variable], z: TensorVariable) -> bool:
    """Return whether a test of z chooses between functions without curvature."""
    classes = {dependence(v, [z]) for v in branches} - {None}
    return z in ancestors([test]) and bool(classes) and Dependence.CURVED not in classes


def _is_truth(v: Variable) -> bool:
    """Return whether v is a boolean, or a cast or a reshape of one."""
    while v.owner is not None and isinstance(v.owner.op, Elemwise | DimShuffle):
        op = v.owner.op
        if isinstance(op, Elemwise) and not isinstance(op.scalar_op, ps.Cast):
            break
        v = v.owner.inputs[0]
    return bool(v.type.dtype == "bool")


def _modulus(u: TensorVariable, u0: TensorVariable, delta: float) -> TensorVariable:
    """Return the majoriser of |u|."""
    m = pt.maximum(pt.abs(u0), np.asarray(delta, u0.type.dtype))
    half = np.asarray(0.5, u0.type.dtype)
    return half * pt.sqr(u) / m + half * m


def _abs(
    u: Sequence[TensorVariable], u0: Sequence[TensorVariable], delta: float
) -> TensorVariable:
    return _modulus(u[0], u0[0], delta)


def _between(
    sign: TensorVariable | int,
    u: Sequence[TensorVariable],
    u0: Sequence[TensorVariable],
    delta: float,
) -> TensorVariable:
    """Return the larger value (sign 1) or the smaller one (sign -1) of two."""
    a, b = u
    half = np.asarray(0.5, u0[0].type.dtype)
    return half * (a + b) + half * sign * _modulus(a - b, u0[0] - u0[1], delta)


def _switch(
    u: Sequence[TensorVariable], u0: Sequence[TensorVariable], delta: float
) -> TensorVariable:
    """Return the larger or the smaller branch, whichever the condition chooses at the point."""
    test, a, b = u0
    larger = pt.eq(pt.neq(test, 0), pt.ge(a, b))
    one = np.asarray(1, a.type.dtype)
    return _between(pt.switch(larger, one, -one), u[1:], u0[1:], delta)


def _masked(
    test: int, u: Sequence[TensorVariable], u0: Sequence[TensorVariable], delta: float
) -> TensorVariable:
    """Return a product with a boolean: a switch between the other factors and zero."""

    def branches(values: Sequence[TensorVariable]) -> list[TensorVariable]:
        product = pt.mul(*values[:test], *values[test + 1 :])
        return [values[test], product, pt.zeros_like(product)]

    return _switch(branches(u), branches(u0), delta)


def _clip(
    u: Sequence[TensorVariable], u0: Sequence[TensorVariable], delta: float
) -> TensorVariable:
    (x, low, high), (x0, low0, high0) = u, u0
    above = _between(1, (x, low), (x0, low0), delta)
    return _between(-1, (above, high), (pt.maximum(x0, low0), high0), delta)


def _largest(
    a: TensorVariable, a0: TensorVariable, axes: Sequence[int] | None, sign: int, delta: float
) -> TensorVariable:
    r"""Return the largest element over some axes, or the smallest one for sign -1.

    With k the position of the largest element at the point, it is
    :math:`a_k + \max_j (u_j)^+ \le a_k + \sum_j (u_j + |u_j|) / 2` for :math:`u_j = a_j - a_k`.
    """
    axes = tuple(range(a.type.ndim)) if axes is None else tuple(axes)
    a, a0 = sign * a, sign * a0
    top0 = pt.max(a0, axis=axes, keepdims=True)
    chosen = pt.eq(a0, top0)
    zero = np.asarray(0, a.type.dtype)
    count = chosen.astype(a.type.dtype).sum(axis=axes, keepdims=True)
    top = pt.switch(chosen, a, zero).sum(axis=axes, keepdims=True) / count
    finite = ~pt.isinf(a0)  # elements that a mask excludes
    u = pt.switch(finite, a - top, zero)
    u0 = pt.switch(finite, a0 - top0, zero)
    excess = np.asarray(0.5, a.type.dtype) * (u + _modulus(u, u0, delta))
    return sign * (top.sum(axis=axes) + pt.switch(finite, excess, zero).sum(axis=axes))


RULES: dict[type[ps.ScalarOp], Rule] = {
    ps.Abs: _abs,
    ps.Maximum: lambda u, u0, delta: _between(1, u, u0, delta),
    ps.Minimum: lambda u, u0, delta: _between(-1, u, u0, delta),
    ps.Clip: _clip,
}
