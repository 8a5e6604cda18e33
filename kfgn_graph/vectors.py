"""Vectors over all parameters: one tensor for each shared variable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

#: One expression for each shared variable.
Values = dict[SharedVariable, TensorVariable]

#: What multiplies each parameter's entries: a scalar for each shared variable.
Scalars = Mapping[SharedVariable, TensorVariable]


def total(terms: Sequence[TensorVariable]) -> TensorVariable:
    """Return the sum of one or more expressions."""
    return terms[0] if len(terms) == 1 else pt.add(*terms)


def dot(a: TensorVariable, b: TensorVariable) -> TensorVariable:
    """Return the scalar product of two tensors of one shape."""
    return (a * b).sum()


def inner(a: Values, b: Values, scales: Scalars | None = None) -> TensorVariable:
    """Return the scalar product over the parameters of both, each part times its scale."""
    parts = {p: dot(a[p], b[p]) for p in a if p in b}
    if not parts:
        return pt.constant(np.asarray(0, next(iter(a.values())).type.dtype))
    if scales is not None:
        parts = {p: scales[p] * part for p, part in parts.items()}
    return total(list(parts.values()))


def norm(a: Values) -> TensorVariable:
    """Return the Euclidean norm over all entries of all parameters."""
    return pt.sqrt(inner(a, a))


def combined(coefficients: Sequence[TensorVariable], vectors: Sequence[Values]) -> Values:
    """Return the sum of vectors, each times its coefficient, over the parameters of any."""
    terms: dict[SharedVariable, list[TensorVariable]] = {}
    for c, v in zip(coefficients, vectors, strict=True):
        for p, value in v.items():
            terms.setdefault(p, []).append(c * value)
    return {p: total(parts) for p, parts in terms.items()}


def all_finite(values: Iterable[TensorVariable]) -> TensorVariable:
    """Return whether no entry of any value is infinite or NaN."""
    checks = [pt.all(~(pt.isnan(v) | pt.isinf(v))) for v in values]
    return checks[0] if len(checks) == 1 else pt.all(pt.stack(checks))
