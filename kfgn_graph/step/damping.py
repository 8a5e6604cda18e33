r"""Damping rules: the multiple of the identity that is added to the curvature.

:math:`\lambda` damps the curvature of the loss, :math:`(C + (\lambda + \eta) I)^{-1}`;
:math:`\gamma` damps the two factors of every block, and by default is
:math:`\sqrt{\lambda + \eta}` (Martens and Grosse 2015, sections 6.2 to 6.6).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.arguments import not_negative, positive, positive_count, real
from kfgn_graph.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class GammaRule:
    r"""The rule for :math:`\gamma`, which damps the factors.

    Parameters
    ----------
    gamma : {'tied', 'search'}
        ``'tied'`` keeps :math:`\gamma = \sqrt{\lambda + \eta}`. ``'search'`` starts from there and
        then tries :math:`\omega_2\gamma, \gamma, \gamma/\omega_2` every ``gamma_every`` updates,
        with :math:`\omega_2 = (19/20)^{T_2/2}`, and keeps the candidate whose step has the
        lowest quadratic model on the batch.
    gamma_every : int
        :math:`T_2`, the period of the search in updates. For a period over 100,
        :math:`\omega_2` is that of 100.
    gamma_minimum, gamma_maximum : float
        Bounds of the three candidates. A :math:`\gamma` that starts outside them stays until the
        first search.
    """

    gamma: Literal["tied", "search"] = "tied"
    gamma_every: int = 20
    gamma_minimum: float = 0.0
    gamma_maximum: float = np.inf

    def __post_init__(self) -> None:
        if self.gamma not in ("tied", "search"):
            raise SpecError(f"gamma={self.gamma!r} is not 'tied' or 'search'.")
        positive_count("gamma_every", self.gamma_every)
        if not 0 <= self.gamma_minimum < self.gamma_maximum:
            raise SpecError(
                f"gamma_minimum={self.gamma_minimum} must be at least 0 and below "
                f"gamma_maximum={self.gamma_maximum}."
            )

    @property
    def searched(self) -> bool:
        """Whether gamma persists, rather than follows from lambda."""
        return self.gamma == "search"

    def gamma_candidates(self, gamma: TensorVariable) -> TensorVariable:
        r"""Return :math:`(\omega_2\gamma, \gamma, \gamma/\omega_2)`, bounded, of shape (3,)."""
        omega = np.sqrt(19 / 20) ** min(self.gamma_every, 100)
        dtype = gamma.type.dtype
        found = gamma * pt.constant(np.asarray([omega, 1, 1 / omega], dtype))
        if self.gamma_minimum > 0:
            found = pt.maximum(found, np.asarray(self.gamma_minimum, dtype))
        if np.isfinite(self.gamma_maximum):
            found = pt.minimum(found, np.asarray(self.gamma_maximum, dtype))
        return found


class Damping(GammaRule, ABC):
    r"""A rule for :math:`\lambda`.

    Only :meth:`first` must be defined. A rule whose :math:`\lambda` changes sets ``adaptive``, and
    defines :meth:`adapted` and usually :meth:`after_failure`; everything else keeps
    :math:`\lambda` as it is.
    """

    #: Whether lambda persists and changes from update to update. The reduction ratio is measured
    #: for adaptive rules only, and only their updates can be rejected.
    adaptive: bool = False

    @property
    def period(self) -> int:
        """Number of updates from one adaptation to the next."""
        return 1

    @property
    def trusted_above(self) -> float:
        """Reduction ratio above which the quadratic model is trusted; see ``Rescaling.watch``."""
        return 0.75

    @abstractmethod
    def first(self, output_curvature: TensorVariable) -> TensorVariable:
        r"""Return :math:`\lambda` of the first update.

        Parameters
        ----------
        output_curvature : scalar TensorVariable
            The mean diagonal entry of the loss's Hessian at the network's output, summed over
            the first batch, :math:`\mathrm{tr}(\sum_n H_{L,n}) / K`; where the loss has no
            curvature, the gradient's norm: see ``first_damping``.
        """

    def bounded(self, damping: TensorVariable, mean_curvature: TensorVariable) -> TensorVariable:
        r"""Return :math:`\lambda` clipped to the rule's bounds.

        Parameters
        ----------
        damping : scalar TensorVariable
            :math:`\lambda`.
        mean_curvature : scalar TensorVariable
            The mean eigenvalue of the curvature that the preconditioner estimates.
        """
        return damping

    def adapted(self, damping: TensorVariable, ratio: TensorVariable) -> TensorVariable:
        r"""Return :math:`\lambda` of the next update, given the reduction ratio of this one."""
        return damping

    def after_failure(self, damping: TensorVariable) -> TensorVariable:
        r"""Return :math:`\lambda` after an update that was rejected or skipped."""
        return damping

    def recovered(self, damping: TensorVariable) -> TensorVariable:
        r"""Return :math:`\lambda` from before :meth:`after_failure`, its inverse.

        It is called after a batch that was not finite itself, which says nothing of lambda.
        """
        return damping


@dataclass(frozen=True)
class ConstantDamping(Damping):
    """The same lambda at every update.

    Parameters
    ----------
    damping : float
        lambda, in units of the loss's curvature.
    gamma, gamma_every, gamma_minimum, gamma_maximum
        See :class:`GammaRule`.
    """

    damping: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("damping", self.damping)

    def first(self, output_curvature: TensorVariable) -> TensorVariable:
        return pt.constant(np.asarray(self.damping, output_curvature.type.dtype), name="lambda")


@dataclass(frozen=True, kw_only=True)
class LevenbergMarquardt(Damping):
    r"""Lambda adapted to how well the quadratic model predicts the loss.

    The reduction ratio :math:`\rho = (h(\theta + \delta) - h(\theta)) / (M(\delta) - M(0))` is
    measured on the batch of the update every :math:`T_1` updates. If it is above ``upper``, lambda
    is multiplied by :math:`\omega_1 = d^{T_1}`. If it is below ``lower`` or NaN, lambda is divided
    by :math:`\omega_1` (Martens and Grosse 2015, section 6.5). Here h is the loss and M its
    quadratic model, both with the ``l2`` penalty; M includes lambda.

    Parameters
    ----------
    initial : float, optional
        lambda of the first update, in units of the loss's curvature. By default
        ``initial_ratio`` times the loss's curvature in an output on the first batch,
        :math:`\mathrm{tr}(\sum_n H_{L,n}) / K`, which follows the scale of the loss. Where the
        loss has no curvature, the norm of the gradient replaces it.
    initial_ratio : float
        See ``initial``.
    every : int
        :math:`T_1`, the period of the adaptation in updates.
    decay : float
        d, the change of lambda per update.
    lower, upper : float
        The thresholds of :math:`\rho`.
    minimum_ratio : float
        Lower bound of lambda, relative to the mean eigenvalue of the curvature. With less damping
        the noise of the batch dominates in directions of small curvature. It does not apply to
        ``KernelGaussNewton``.
    minimum, maximum : float
        Bounds of lambda.
    failure_factor : float
        Factor by which lambda grows after an update that is rejected or skipped. After a batch
        whose loss, gradient or curvature is not finite, which says nothing of the model, it grows
        once, however many such batches follow each other, and the next finite batch begins from
        its value before them.
    gamma, gamma_every, gamma_minimum, gamma_maximum
        See :class:`GammaRule`.
    """

    initial: float | None = None
    initial_ratio: float = 0.4
    every: int = 5
    decay: float = 19 / 20
    lower: float = 0.25
    upper: float = 0.75
    minimum_ratio: float = 1e-4
    minimum: float = 0.0
    maximum: float = np.inf
    failure_factor: float = 4.0

    adaptive = True

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("initial_ratio", self.initial_ratio)
        not_negative("minimum_ratio", self.minimum_ratio)
        if self.initial is not None:
            positive("initial", self.initial)
        positive_count("every", self.every)
        if not 0 < real("decay", self.decay, "between 0 and 1") < 1:
            raise SpecError(f"decay={self.decay} must lie between 0 and 1.")
        if not real("lower", self.lower) < real("upper", self.upper):
            raise SpecError(f"lower={self.lower} must be below upper={self.upper}.")
        not_negative("minimum", self.minimum)
        if not self.minimum < self.maximum:
            raise SpecError(
                f"minimum={self.minimum} must be at least 0 and below maximum={self.maximum}."
            )
        if not real("failure_factor", self.failure_factor, "above 1") > 1:
            raise SpecError(f"failure_factor={self.failure_factor} must be above 1.")

    def first(self, output_curvature: TensorVariable) -> TensorVariable:
        dtype = output_curvature.type.dtype
        if self.initial is not None:
            return pt.constant(np.asarray(self.initial, dtype))
        return np.asarray(self.initial_ratio, dtype) * output_curvature

    def bounded(self, damping: TensorVariable, mean_curvature: TensorVariable) -> TensorVariable:
        dtype = damping.type.dtype
        least = np.asarray(self.minimum_ratio, dtype) * mean_curvature
        least = pt.maximum(least, np.asarray(self.minimum, dtype))
        greatest = min(self.maximum, np.sqrt(np.finfo(dtype).max))
        return pt.minimum(pt.maximum(damping, least), np.asarray(greatest, dtype))

    @property
    def period(self) -> int:
        return self.every

    @property
    def trusted_above(self) -> float:
        return self.upper

    def adapted(self, damping: TensorVariable, ratio: TensorVariable) -> TensorVariable:
        omega = np.asarray(self.decay**self.every, damping.type.dtype)
        raised = pt.switch(pt.ge(ratio, self.lower), damping, damping / omega)
        return pt.switch(pt.gt(ratio, self.upper), omega * damping, raised)

    def after_failure(self, damping: TensorVariable) -> TensorVariable:
        return damping * np.asarray(self.failure_factor, damping.type.dtype)

    def recovered(self, damping: TensorVariable) -> TensorVariable:
        return damping / np.asarray(self.failure_factor, damping.type.dtype)


def factored_gamma(shift: TensorVariable) -> TensorVariable:
    r"""Return :math:`\gamma = \sqrt{\lambda + \eta}` (Martens and Grosse 2015, section 6.6)."""
    return pt.sqrt(shift)
