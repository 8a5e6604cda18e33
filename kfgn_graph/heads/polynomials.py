"""Polynomials in z, softplus(z) and the other variables of an elementwise term.

A polynomial maps each monomial to its coefficient. A monomial is a tuple of atoms, sorted by id.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.tensor.variable import TensorVariable

Monomial = tuple[object, ...]
Polynomial = dict[Monomial, float]

#: The atoms that stand for z and for softplus(z); every other atom is a variable.
Z, SOFTPLUS = object(), object()


def number(value: float) -> Polynomial:
    """Return a constant polynomial."""
    return {(): value} if value else {}


def atom(a: object) -> Polynomial:
    """Return the polynomial that consists of one atom."""
    return {(a,): 1.0}


def add(*terms: Polynomial) -> Polynomial:
    """Return the sum of polynomials, without monomials that cancel."""
    found: Polynomial = {}
    for term in terms:
        for monomial, c in term.items():
            found[monomial] = found.get(monomial, 0.0) + c
    return {m: c for m, c in found.items() if c}


def scaled(p: Polynomial, factor: float) -> Polynomial:
    """Return a polynomial times a number."""
    return {m: c * factor for m, c in p.items()} if factor else {}


def multiply(p: Polynomial, q: Polynomial) -> Polynomial:
    """Return the product of two polynomials."""
    return add(
        *({tuple(sorted(m + n, key=id)): c * d} for m, c in p.items() for n, d in q.items())
    )


def by_power(p: Polynomial) -> dict[Monomial, Polynomial]:
    """Return the coefficient, free of z, of each product of z and softplus(z)."""
    found: dict[Monomial, Polynomial] = {}
    for monomial, c in p.items():
        power = tuple(a for a in monomial if a is Z or a is SOFTPLUS)
        rest = tuple(a for a in monomial if not (a is Z or a is SOFTPLUS))
        found.setdefault(power, {})[rest] = c
    return found


def materialise(p: Polynomial, z: TensorVariable) -> TensorVariable:
    """Return a polynomial free of z as a variable that broadcasts against z, of z's dtype."""
    terms = [_product(c, monomial, z) for monomial, c in p.items()]
    return reduce(pt.add, terms) if terms else pt.constant(np.asarray(0, z.type.dtype))


def _product(c: float, atoms: Iterable[object], z: TensorVariable) -> TensorVariable:
    factors = [_like(a, z) for a in atoms if isinstance(a, Variable)]
    if c != 1.0 or not factors:
        factors.insert(0, pt.constant(np.asarray(c, z.type.dtype)))
    return reduce(pt.mul, factors)


def _like(v: Variable, z: TensorVariable) -> TensorVariable:
    """Return a variable in z's dtype and, if it goes with a flattened z, in z's shape."""
    v = v if v.type.dtype == z.type.dtype else v.astype(z.type.dtype)
    if v.type.ndim in (0, z.type.ndim):
        return v
    return v.reshape(()) if all(v.type.broadcastable) else v.reshape(z.shape)
