"""Proofs that an elementwise term is a squared error or a Bernoulli cross-entropy.

A term is rewritten as a polynomial in z, in softplus(z) and in variables that do not depend on z.
The rewriting holds for all arguments. If it succeeds, the second derivative follows from the
powers of z and softplus(z). An Op without a rule, applied to z, ends the proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import pytensor.tensor as pt
from pytensor import scalar as ps
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.traversal import ancestors
from pytensor.tensor.basic import get_underlying_scalar_constant_value
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.exceptions import NotScalarConstantError
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.polynomials import (
    SOFTPLUS,
    Polynomial,
    Z,
    add,
    atom,
    by_power,
    materialise,
    multiply,
    number,
    scaled,
)
from kfgn_graph.heads.terms import ElementwiseTerm
from kfgn_graph.layers.dtypes import is_float

ONE, IDENTITY, MINUS = number(1.0), atom(Z), scaled(atom(Z), -1.0)


class Unproven(Exception):
    """A term without a proof."""


@dataclass(frozen=True)
class Odds:
    """The function ``sign * exp(n z) * (1 + exp(z))**m``: sigmoid(z) has n = 1, m = -1."""

    n: int
    m: int
    sign: int = 1

    def log(self) -> Polynomial:
        """Return the logarithm."""
        if self.sign < 0:
            raise Unproven
        return add(scaled(atom(Z), self.n), scaled(atom(SOFTPLUS), self.m))

    def plus_one(self) -> Odds:
        """Return 1 + this function."""
        sums = {(1, 0, 1): (0, 1), (-1, 0, 1): (-1, 1), (1, -1, -1): (0, -1), (0, -1, -1): (1, -1)}
        if (self.n, self.m, self.sign) not in sums:
            raise Unproven
        return Odds(*sums[self.n, self.m, self.sign])

    def power(self, k: int) -> Odds:
        """Return this function to the power of k = 1 or -1."""
        return Odds(k * self.n, k * self.m, self.sign)


Value = Polynomial | Odds


def classify(term: ElementwiseTerm, z: TensorVariable) -> tuple[str, TensorVariable | None]:
    """Classify the second derivative of a term, for all values of its arguments.

    Returns
    -------
    kind : {'none', 'constant', 'logistic', 'other'}
        Zero; constant in z; proportional to sigma(z) (1 - sigma(z)); or not proven to be either.
    factor : TensorVariable or None
        For 'logistic' the factor of sigma(z) (1 - sigma(z)), which broadcasts against z.
    """
    try:
        parts = by_power(_polynomial(_Prover(term, z).value(term.value)))
    except Unproven:
        return "other", None
    powers = set(parts) - {(), (Z,)}
    if not powers:
        return "none", None
    if powers == {(Z, Z)}:
        return "constant", None
    if powers == {(SOFTPLUS,)}:
        return "logistic", materialise(parts[SOFTPLUS,], z)
    return "other", None


class _Prover:
    """The values of a term's variables, as functions of z."""

    def __init__(self, term: ElementwiseTerm, z: TensorVariable) -> None:
        self._z = z
        self._nodes = set(term.nodes)
        self._known: dict[Variable, Value] = {z: IDENTITY}

    def value(self, v: Variable) -> Value:
        """Return a variable's value."""
        if v not in self._known:
            self._known[v] = self._found(v)
        return self._known[v]

    def _found(self, v: Variable) -> Value:
        constant = _constant(v)
        if constant is not None:
            return number(constant)
        varies = self._varies(v)
        # Integers may wrap and booleans saturate: only real numbers follow the rules of algebra.
        if v.owner in self._nodes and is_float(v):
            try:
                return self._applied(v.owner)
            except Unproven:
                if varies:
                    raise
        if varies:
            raise Unproven
        return atom(v)

    def _varies(self, v: Variable) -> bool:
        return self._z in ancestors([v])

    def _applied(self, node: Apply) -> Value:
        if not isinstance(node.op, Elemwise):
            return self.value(node.inputs[0])  # a reshape
        op = node.op.scalar_op
        if isinstance(op, ps.Switch):
            return self._switched(*node.inputs)
        if isinstance(op, ps.Second):
            return self.value(node.inputs[1])
        modulus = squared_modulus(node)
        if modulus is not None:
            return _apply(ps.sqr, [self.value(modulus)])
        shifted = _shifted_exponents(node)
        if shifted:
            total = _sum([_function(ps.exp, self.value(v)) for v in shifted])
            return _function(ps.log, total)
        return _apply(op, [self.value(v) for v in node.inputs])

    def _switched(self, condition: Variable, *branches: Variable) -> Value:
        """Return a switch as a polynomial: each of its coefficients is a switch."""
        if self._varies(condition):
            raise Unproven
        yes, no = (by_power(_polynomial(self.value(v))) for v in branches)
        chosen: list[Polynomial] = []
        test = pt.neq(materialise(atom(condition), self._z), 0)
        for power in dict.fromkeys([*yes, *no]):
            a, b = yes.get(power, {}), no.get(power, {})
            if a != b:
                a = atom(pt.switch(test, materialise(a, self._z), materialise(b, self._z)))
            chosen.append(multiply(a, {power: 1.0}))
        return add(*chosen)


def _is(node: Apply | None, op: type) -> bool:
    return node is not None and isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, op)


def squared_modulus(node: Apply) -> Variable | None:
    """Return v of ``|v|**2``, which is v**2, else None."""
    base, *others = node.inputs
    same = _is(node, ps.Mul) and len(others) == 1 and others[0] is base
    squared = _is(node, ps.Pow) and _constant(others[0]) == 2.0
    if not (same or squared or _is(node, ps.Sqr)) or not _is(base.owner, ps.Abs):
        return None
    return base.owner.inputs[0]


def _shifted_exponents(node: Apply) -> list[Variable]:
    """Return the v_i of log(sum_i exp(v_i - s)) + s, which any s leaves the same, else nothing."""
    if not _is(node, ps.Add) or len(node.inputs) != 2:
        return []
    for log, shift in (node.inputs, node.inputs[::-1]):
        sums = log.owner.inputs[0].owner if _is(log.owner, ps.Log) else None
        exps = [v.owner for v in sums.inputs] if sums is not None and _is(sums, ps.Add) else []
        parts = [e.inputs[0].owner for e in exps if _is(e, ps.Exp)]
        parts = [d for d in parts if _is(d, ps.Sub) and d.inputs[1] is shift]
        if exps and len(parts) == len(exps):
            return [d.inputs[0] for d in parts]
    return []


def _constant(v: Variable) -> float | None:
    if not (isinstance(v, Constant) or v.owner is not None):
        return None
    try:
        return float(get_underlying_scalar_constant_value(v))
    except (NotScalarConstantError, TypeError, ValueError):
        return None


def _polynomial(value: Value) -> Polynomial:
    if isinstance(value, Odds):
        raise Unproven
    return value


def _apply(op: ps.ScalarOp, values: list[Value]) -> Value:
    """Return the value of an elementwise Op."""
    match op:
        case ps.Cast() | ps.Identity():
            return values[0]
        case ps.Add():
            return _sum(values)
        case ps.Sub():
            return _sum([values[0], _negative(values[1])])
        case ps.Neg():
            return _negative(values[0])
        case ps.Mul():
            return reduce(_product, values)
        case ps.Sqr():
            return _product(values[0], values[0])
        case ps.Pow():
            if values[1] != number(2.0):
                raise Unproven
            return _product(values[0], values[0])
        case ps.TrueDiv():
            return _product(values[0], _reciprocal(values[1]))
        case ps.Reciprocal():
            return _reciprocal(values[0])
    return _function(op, values[0])


def _function(op: ps.ScalarOp, x: Value) -> Value:
    """Return the value of a transcendental function."""
    name = type(op).__name__
    if name == "Log" and isinstance(x, Odds):
        return x.log()
    if name == "Log1p" and isinstance(x, Odds):
        return x.plus_one().log()
    table: dict[str, tuple[Value, Value]] = {
        "Exp": (Odds(1, 0), Odds(-1, 0)),
        "Sigmoid": (Odds(1, -1), Odds(0, -1)),
        "Softplus": (Odds(0, 1).log(), Odds(-1, 1).log()),
    }
    if name in table and x in (IDENTITY, MINUS):
        return table[name][x == MINUS]
    if name == "Exp" and x == {}:
        return ONE
    raise Unproven


def _negative(x: Value) -> Value:
    return Odds(x.n, x.m, -x.sign) if isinstance(x, Odds) else scaled(x, -1.0)


def _sum(values: list[Value]) -> Value:
    odds = [v for v in values if isinstance(v, Odds)]
    rest = add(*(v for v in values if not isinstance(v, Odds)))
    if not odds:
        return rest
    if len(odds) == 1 and rest == {}:
        return odds[0]
    if len(odds) == 1 and rest == ONE:
        return odds[0].plus_one()
    raise Unproven


def _product(a: Value, b: Value) -> Value:
    if isinstance(a, Odds) and isinstance(b, Odds):
        return Odds(a.n + b.n, a.m + b.m, a.sign * b.sign)
    if not isinstance(a, Odds) and not isinstance(b, Odds):
        return multiply(a, b)
    odds, other = (a, b) if isinstance(a, Odds) else (b, a)
    if other == ONE:
        return odds
    if other == number(-1.0):
        return _negative(odds)
    raise Unproven


def _reciprocal(x: Value) -> Value:
    if isinstance(x, Odds):
        return x.power(-1)
    if set(x) == {()}:
        return number(1.0 / x[()])
    divisor = by_power(x)
    if set(divisor) != {()} or len(x) != 1 or list(x.values()) != [1.0]:
        raise Unproven
    (monomial,) = x
    return {tuple(_inverse(v) for v in monomial): 1.0}


def _inverse(v: Variable) -> Variable:
    """Return 1 / v, in floating point."""
    return pt.reciprocal(v if is_float(v) else v.astype("float64"))
