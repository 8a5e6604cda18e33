"""Derivatives that PyTensor does not define."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pytensor.gradient import NullTypeGradError

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
