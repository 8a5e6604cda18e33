"""Vectors over all parameters: one tensor for each shared variable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

#: One expression for each shared variable.
Values = dict[SharedVariable, TensorVariable]

#: One scalar factor for each shared variable.
Scalars = Mapping[SharedVariable, TensorVariable]


def total(terms: Sequence[TensorVariable]) -> TensorVariable:
    """Return the sum of one or more expressions."""
    return terms[0] if len(terms) == 1 else pt.add(*terms)


def dot(a: TensorVariable, b: TensorVariable) -> TensorVariable:
    """Return the inner product of two tensors of one shape."""
    return (a * b).sum()


def inner(a: Values, b: Values, scales: Scalars | None = None) -> TensorVariable:
    """Return the inner product over the parameters in both, each part times its scale."""
    both = [p for p in a if p in b]
    if not both:
        return pt.constant(np.asarray(0, next(iter(a.values())).type.dtype))
    if scales is None:
        return total(parts_of_inner(a, b, both))
    groups: dict[TensorVariable, list[SharedVariable]] = {}
    for p in both:
        groups.setdefault(scales[p], []).append(p)
    parts = [scale * total(parts_of_inner(a, b, group)) for scale, group in groups.items()]
    return total(parts)


#: Small matrices are joined as vectors are if there are at least so many of at most this size.
MANY_SMALL, SMALL_SIZE = 16, 4096


def parts_of_inner(a: Values, b: Values, over: Sequence[SharedVariable]) -> list[TensorVariable]:
    """Return the terms of an inner product: one for each matrix, and one for all vectors.

    Vectors are concatenated because they are short: compiling and calling one kernel for each
    would cost more than the arithmetic. So are the small matrices of a deep network.
    """
    short = [p for p in over if a[p].type.ndim == 1]
    small = [p for p in over if a[p].type.ndim > 1 and is_small(a[p]) and is_small(b[p])]
    short += small if len(small) >= MANY_SMALL else []
    if len(short) < 2:
        return [dot(a[p], b[p]) for p in over]
    joined = [pt.concatenate([values[p].flatten() for p in short]) for values in (a, b)]
    known = set(short)
    return [*(dot(a[p], b[p]) for p in over if p not in known), dot(*joined)]


def is_small(v: TensorVariable) -> bool:
    """Return whether a tensor has at most :data:`SMALL_SIZE` entries, by its static shape."""
    return None not in v.type.shape and prod(v.type.shape) <= SMALL_SIZE


def norm(a: Values) -> TensorVariable:
    """Return the Euclidean norm over all entries of all parameters."""
    return pt.sqrt(inner(a, a))


def combined(coefficients: Sequence[TensorVariable], vectors: Sequence[Values]) -> Values:
    """Return the linear combination of vectors, over all parameters that occur in any of them."""
    terms: dict[SharedVariable, list[TensorVariable]] = {}
    for c, v in zip(coefficients, vectors, strict=True):
        for p, value in v.items():
            terms.setdefault(p, []).append(c * value)
    return {p: total(parts) for p, parts in terms.items()}


def all_finite(values: Iterable[TensorVariable]) -> TensorVariable:
    """Return whether all entries of all values are finite."""
    checks = [pt.all(~(pt.isnan(v) | pt.isinf(v))) for v in values]
    return checks[0] if len(checks) == 1 else pt.all(pt.stack(checks))
