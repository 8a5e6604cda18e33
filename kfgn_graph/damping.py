"""Damping: what is added to the curvature before it is inverted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor import TensorLike
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import SpecError


class Damping(ABC):
    """A rule for lambda, which damps the curvature of the loss: (C + (lambda + eta) I)^-1."""

    @abstractmethod
    def value(self, dtype: str) -> TensorVariable:
        """Return lambda for this update, a scalar of the given dtype."""


@dataclass(frozen=True)
class ConstantDamping(Damping):
    """The same lambda at every update.

    Parameters
    ----------
    damping : float
        lambda, in units of the loss's curvature. Factored damping uses its root,
        gamma = sqrt(lambda + eta), with eta the curvature of quadratic penalties.
    """

    damping: float = 1e-3

    def __post_init__(self) -> None:
        if not (np.isfinite(self.damping) and self.damping > 0):
            raise SpecError(f"damping={self.damping} must be a positive number.")

    def value(self, dtype: str) -> TensorVariable:
        return pt.constant(np.asarray(self.damping, dtype), name="lambda")


def factored_gamma(damping: TensorVariable, penalty: TensorLike) -> TensorVariable:
    r"""Return :math:`\gamma = \sqrt{\lambda + \eta}` (Martens and Grosse 2015, section 6.6)."""
    return pt.sqrt(damping + penalty)
