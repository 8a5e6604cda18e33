"""How to step: the settings that :func:`compile_update` and :func:`kfgn_updates` share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kfgn_graph.arguments import positive_count
from kfgn_graph.curvature.methods.base import KroneckerMethod
from kfgn_graph.curvature.methods.kfra import KFRA
from kfgn_graph.errors import SpecError
from kfgn_graph.solve.base import Inverse
from kfgn_graph.solve.eigenbasis import Eigenbasis
from kfgn_graph.solve.names import strategy_of
from kfgn_graph.step.damping import Damping, LevenbergMarquardt
from kfgn_graph.step.hessian_free import HessianFree
from kfgn_graph.step.step_rules import Rescaling


@dataclass(frozen=True)
class Settings:
    """See :func:`compile_update` for what each means."""

    method: KroneckerMethod | HessianFree = field(default_factory=KFRA)
    damping: Damping = field(default_factory=LevenbergMarquardt)
    step: float | Rescaling = field(default_factory=Rescaling)
    l2: float = 0.0
    curvature_decay: float = 0.8
    factors_every: int = 5
    refresh_every: int = 10
    inverse: str | Inverse = "cholesky"
    average_iterates: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.method, KroneckerMethod | HessianFree):
            raise SpecError(
                f"method={self.method!r} is none to step with: use KFRA(), KFLR(), KFAC() or "
                "HessianFree(); the exact blocks are for curvature_factors."
            )
        if not isinstance(self.damping, Damping):
            raise SpecError(
                f"damping={self.damping!r} is not a damping rule such as LevenbergMarquardt() or "
                "ConstantDamping(1e-3)."
            )
        if not 0 <= self.curvature_decay < 1:
            raise SpecError(f"curvature_decay={self.curvature_decay} must be in [0, 1).")
        positive_count("factors_every", self.factors_every)
        positive_count("refresh_every", self.refresh_every)
        if not (np.isfinite(self.l2) and self.l2 >= 0):
            raise SpecError(f"l2={self.l2} must be zero or a positive number.")
        if not isinstance(self.step, Rescaling) and not np.isfinite(self.step):
            raise SpecError(f"step={self.step} must be a finite number or Rescaling().")
        self._check_inverse()

    def _check_inverse(self) -> None:
        if self.corrected and not getattr(self.method, "has_columns", False):
            raise SpecError(
                f"inverse={self.inverse!r} needs the square root that KFLR() and KFAC() carry; "
                f"{self.method!r} has none."
            )
        if isinstance(self.method, HessianFree) and self.damping.searched:
            raise SpecError("gamma='search' is for factored methods: HessianFree has no gamma.")
        strategy = self.strategy
        exact = isinstance(strategy, Eigenbasis) and (strategy.exact or strategy.corrected)
        if self.damping.searched and exact:
            raise SpecError(
                f"gamma='search' has nothing to search with inverse={self.inverse!r}, which damps "
                "the block by lambda itself: use gamma='tied' or inverse='eigh'."
            )

    @property
    def strategy(self) -> Inverse:
        """The strategy that ``inverse`` names."""
        return strategy_of(self.inverse)

    @property
    def keeps_factors(self) -> bool:
        """Whether factors persist between updates."""
        return self.curvature_decay > 0 or self.factors_every > 1

    @property
    def keeps_inverses(self) -> bool:
        """Whether the parts of the inverses persist between updates."""
        return self.refresh_every > 1 or self.strategy.warm or self.corrected

    @property
    def reject_below(self) -> float | None:
        """The least reduction ratio of an update that is taken; None takes every one."""
        if not isinstance(self.damping, LevenbergMarquardt):
            return None
        return self.step.reject_below if isinstance(self.step, Rescaling) else None

    @property
    def watch(self) -> int | None:
        """Of ``Rescaling``, where updates may be rejected."""
        if self.reject_below is None or not isinstance(self.step, Rescaling):
            return None
        return self.step.watch

    @property
    def corrected(self) -> bool:
        """Whether the block's own eigenvalues are estimated beside its factors."""
        strategy = self.strategy
        return isinstance(strategy, Eigenbasis) and strategy.corrected
