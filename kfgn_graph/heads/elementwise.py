"""The matcher of elementwise losses: squared error, Bernoulli cross-entropy and all others.

A loss is recognised where a form of its second derivative is proven for all arguments; see
:mod:`~kfgn_graph.heads.proving`. Otherwise the second derivative is taken symbolically.
"""

from __future__ import annotations

from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.bernoulli import BernoulliHead
from kfgn_graph.heads.core import Head
from kfgn_graph.heads.diagonal import DiagonalHead
from kfgn_graph.heads.proving import classify
from kfgn_graph.heads.squared_error import SquaredErrorHead
from kfgn_graph.heads.terms import elementwise_terms
from kfgn_graph.layers.derivatives import grad
from kfgn_graph.linalg.vectors import total


def match_elementwise(loss: TensorVariable, z: TensorVariable, example_axes: int) -> Head | None:
    """Return the head of an elementwise loss, or None if the loss has another form."""
    terms = elementwise_terms(loss, z)
    if terms is None:
        return None
    found = [classify(term, z) for term in terms]
    kinds = {kind for kind, _ in found}
    if "constant" in kinds <= {"none", "constant"}:
        return SquaredErrorHead(z, example_axes, loss)
    if "logistic" in kinds <= {"none", "logistic"}:
        scales = [
            grad(loss, term.value).reshape(z.shape, ndim=z.type.ndim) * factor
            if term.value.type.ndim != z.type.ndim
            else grad(loss, term.value) * factor
            for term, (_, factor) in zip(terms, found, strict=True)
            if factor is not None
        ]
        return BernoulliHead(z, example_axes, loss, total(scales))
    return DiagonalHead(z, example_axes, loss)
