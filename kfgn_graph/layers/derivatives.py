"""Derivatives in the dtype of the variables, and those that PyTensor does not define."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pytensor.gradient import NullTypeGradError
from pytensor.gradient import grad as pytensor_grad
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import CurvatureRuleNotFound


@contextmanager
def defined_derivatives() -> Iterator[None]:
    """Raise :class:`CurvatureRuleNotFound` for an Op without the derivatives that are taken.

    It wraps the construction of curvature, as a context or as a decorator.
    """
    try:
        yield
    except NullTypeGradError as error:
        raise CurvatureRuleNotFound(
            "the loss or the network contains an Op without a second derivative, which curvature "
            f"needs: {error} Compute the same by other Ops, such as a product of the entries "
            "instead of `prod` over an axis of undeclared length, or declare the length."
        ) from error


def grads(
    cost: TensorVariable | None, wrt: Sequence[TensorVariable], **options: object
) -> list[TensorVariable]:
    """Return :func:`pytensor.grad`, each gradient in the dtype of its variable.

    PyTensor's derivative of a comparison is zero in the dtype floatX, which would make a sum of
    float32 gradients float64.
    """
    found = pytensor_grad(cost, list(wrt), **options)
    return [
        g if g.type.dtype == v.type.dtype else g.astype(v.type.dtype)
        for g, v in zip(found, wrt, strict=True)
    ]


def grad(cost: TensorVariable, wrt: TensorVariable, **options: object) -> TensorVariable:
    """Return the gradient in one variable, as :func:`grads`."""
    return grads(cost, [wrt], **options)[0]
