"""The settings of a step, stated once for :func:`compile_update` and :func:`kfgn_updates`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

import numpy as np

from kfgn_graph.arguments import not_negative, positive_count, real, switch
from kfgn_graph.curvature.methods import KFAC, KFLR, KFRA, Auto
from kfgn_graph.curvature.methods.base import Method
from kfgn_graph.errors import SpecError
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.solve import Inverse, strategy_of
from kfgn_graph.step.damping import ConstantDamping, Damping, LevenbergMarquardt
from kfgn_graph.step.kernel import KernelGaussNewton
from kfgn_graph.step.step_rules import FixedStep, Rescaling, StepRule

#: The methods that have a name.
NAMED: Mapping[str, Method] = {
    "auto": Auto(),
    "kfra": KFRA(),
    "kflr": KFLR(),
    "kfac": KFAC(),
    "kernel": KernelGaussNewton(),
}


@dataclass(frozen=True)
class Settings:
    r"""How an update is computed.

    Parameters
    ----------
    method : Method or {'auto', 'kfra', 'kflr', 'kfac', 'kernel'}
        The curvature: ``Auto()`` (default), ``KFRA()``, ``KFLR()``, ``KFAC()``,
        ``KernelGaussNewton()`` or ``HessianFree()``.
    damping : Damping or float
        :math:`\lambda`, which is added to the curvature before it is inverted, and how it adapts:
        ``LevenbergMarquardt()``, or a number, which is a :class:`ConstantDamping`.
    step : float or StepRule
        The step length along the preconditioned gradient: ``Rescaling()`` takes it from the exact
        quadratic model of the loss, a number is a :class:`FixedStep`.
    l2 : float
        :math:`\eta` of an added penalty :math:`\frac{\eta}{2} \|\theta\|^2`, biases included,
        which counts in gradient and curvature.
    curvature_decay : float
        Weight of the old factors in their moving average, in [0, 1); 0 keeps no average.
    factors_every : int
        Period, in updates, of the estimates of the factors. Each of the first fifty updates makes
        one.
    refresh_every : int
        Period, in updates, of the inversions of the factors. Each of the first fifty updates
        inverts.
    inverse : {'cholesky', 'newton-schulz', 'eigh', 'exact', 'ekfac'} or Inverse
        How the damped blocks are inverted: by Cholesky factorisation; by matrix products alone; in
        the factors' eigenbasis; there with exact instead of factored damping; or there with the
        block's own eigenvalues (EKFAC, for KFLR and KFAC).
    average_iterates : bool
        Whether an average of the parameters over the updates is kept, for
        :meth:`Update.averaged`.
    seed : int
        Seed of the random draws of KFAC, and of the signs that estimate diagonals.

    Raises
    ------
    SpecError
        If a value is not allowed, or two do not go together.
    """

    method: Method = Auto()
    damping: Damping = LevenbergMarquardt()
    step: float | StepRule = Rescaling()
    l2: float = 0.0
    curvature_decay: float = 0.8
    factors_every: int = 5
    refresh_every: int = 10
    inverse: str | Inverse = "cholesky"
    average_iterates: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.method, str) and self.method in NAMED:
            object.__setattr__(self, "method", NAMED[self.method])
        if not isinstance(self.method, Method):
            raise SpecError(
                f"method={self.method!r} is not a curvature method such as KFRA(), KFLR(), KFAC() "
                f"or HessianFree(), nor one of the names {', '.join(NAMED)}."
            )
        given: Any = self.damping
        if isinstance(given, int | float | np.number) and not isinstance(given, bool):
            object.__setattr__(self, "damping", ConstantDamping(float(given)))
        if not isinstance(self.damping, Damping):
            raise SpecError(
                f"damping={self.damping!r} is not a damping rule such as LevenbergMarquardt() or "
                "ConstantDamping(1e-3), nor a number."
            )
        if not 0 <= real("curvature_decay", self.curvature_decay, "in [0, 1)") < 1:
            raise SpecError(f"curvature_decay={self.curvature_decay} must be in [0, 1).")
        positive_count("factors_every", self.factors_every)
        positive_count("refresh_every", self.refresh_every)
        not_negative("l2", self.l2)
        switch("average_iterates", self.average_iterates)
        whole = isinstance(self.seed, int | np.integer) and not isinstance(self.seed, bool)
        if not (whole and 0 <= self.seed < 2**32):
            raise SpecError(f"seed={self.seed!r} must be a whole number from 0 to 2^32 - 1.")
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Check what each value alone does not show; a number as ``step`` is checked here too."""
        _, strategy = self.step_rule, self.strategy
        if strategy.corrected and not self.method.has_columns:
            raise SpecError(
                f"inverse={self.inverse!r} needs the square root that KFLR() and KFAC() carry; "
                f"{self.method!r} has none."
            )
        if self.damping.searched and not self.method.factored:
            raise SpecError(
                f"gamma='search' is for factored methods: {type(self.method).__name__} has no "
                "gamma."
            )
        if self.damping.searched and (strategy.exact or strategy.corrected):
            raise SpecError(
                f"gamma='search' has nothing to search with inverse={self.inverse!r}, which damps "
                "the block by lambda itself: use gamma='tied' or inverse='eigh'."
            )

    def for_graph(self, graph: LayerGraph) -> Settings:
        """Return the settings with the method that is chosen for a network."""
        return replace(self, method=self.method.for_graph(graph))

    @property
    def strategy(self) -> Inverse:
        """The strategy that ``inverse`` names."""
        return strategy_of(self.inverse)

    @property
    def step_rule(self) -> StepRule:
        """The rule that ``step`` stands for."""
        return self.step if isinstance(self.step, StepRule) else FixedStep(self.step)

    @property
    def keeps_factors(self) -> bool:
        """Whether factors persist between updates."""
        return self.curvature_decay > 0 or self.factors_every > 1

    @property
    def keeps_inverses(self) -> bool:
        """Whether the parts of the inverses persist between updates."""
        return self.refresh_every > 1 or self.strategy.warm or self.strategy.corrected

    @property
    def reject_below(self) -> float | None:
        """The least reduction ratio of an update that is accepted; None accepts every one."""
        return self.step_rule.reject_below if self.damping.adaptive else None

    @property
    def watch(self) -> int | None:
        """``watch`` of the step rule, where updates can be rejected."""
        return None if self.reject_below is None else self.step_rule.watch


class SettingNames(TypedDict, total=False):
    """The fields of :class:`Settings`, for the type of ``**settings``."""

    method: Method
    damping: float | Damping
    step: float | StepRule
    l2: float
    curvature_decay: float
    factors_every: int
    refresh_every: int
    inverse: str | Inverse
    average_iterates: bool
    seed: int


class UnknownSettingError(SpecError, TypeError):
    """A keyword argument is not a setting."""


def settings_from(options: SettingNames, function: Callable[..., Any]) -> Settings:
    """Return the settings among the keyword arguments of a function.

    Raises
    ------
    SpecError
        If a name is unknown, which is a TypeError as well, or a value is not allowed.
    """
    unknown = sorted(set(options) - {field.name for field in fields(Settings)})
    if unknown:
        known = sorted(
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        )
        raise UnknownSettingError(
            f"{function.__name__}: unknown settings {unknown}; known are {known}."
        )
    return Settings(**options)  # type: ignore[arg-type]  # a number as damping is converted


def takes_settings[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Show every setting in the signature and the docstring of a function of ``**settings``.

    The signature gets the fields of :class:`Settings` with their defaults. In the docstring the
    entry ``**settings`` of the section Parameters is replaced by the entries of
    :class:`Settings`, so that both are stated there alone.
    """
    own = inspect.signature(function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    shown = [
        inspect.Parameter(f.name, keyword, default=f.default, annotation=f.type)
        for f in fields(Settings)
    ]
    kept = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = own.replace(parameters=[*kept, *shown])  # type: ignore[attr-defined]
    if function.__doc__ and Settings.__doc__:
        entries = Settings.__doc__.split("----------\n", 1)[1].split("\n\n    Raises", 1)[0]
        function.__doc__ = function.__doc__.replace("    **settings\n", f"{entries}\n", 1)
    return function
