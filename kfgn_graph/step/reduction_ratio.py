"""What the loss at the new parameters says of an update, and when it is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.conditional import choose
from kfgn_graph.step.damping import LevenbergMarquardt
from kfgn_graph.step.settings import Settings

#: A rise of the loss by so many of its roundings is none.
ROUNDING = 100

#: An update so many times as long as the last is tested: nearly all that are rejected are longer.
LONG = 1.5


@dataclass(frozen=True, eq=False)
class Outcome:
    """What is known of an update.

    Attributes
    ----------
    ratio : scalar
        rho; NaN where it is not measured.
    rejected : scalar bool
        Whether the update is not to be taken.
    watch : scalar int32, optional
        At how many of the next updates rho is measured whether lambda adapts or not.
    """

    ratio: TensorVariable
    rejected: TensorVariable
    watch: TensorVariable | None = None


def doubtful(
    watch: TensorVariable, last: TensorVariable, length: TensorVariable
) -> TensorVariable:
    """Return whether an update is tested whether lambda adapts or not.

    Parameters
    ----------
    watch : scalar int32
        At how many updates it is in any case.
    last, length : scalars
        Norms of the last update that was taken and of this one.
    """
    return pt.gt(watch, 0) | pt.gt(length, np.asarray(LONG, length.type.dtype) * last)


def outcome(
    rule: LevenbergMarquardt,
    settings: Settings,
    due: TensorVariable,
    watch: TensorVariable | None,
    losses: tuple[TensorVariable, TensorVariable],
    change: TensorVariable,
) -> Outcome:
    """Return what is known of an update; the loss after it costs nothing where it is not due.

    Parameters
    ----------
    rule : LevenbergMarquardt
        Above its ``upper`` the model is trusted.
    settings : Settings
        What is rejected, and for how long is watched.
    due : scalar bool
        Whether the ratio is asked for where not every update is tested.
    watch : scalar int32, optional
        From the last update, where it is counted.
    losses : pair of scalars
        The objective on the batch, at the parameters before the update and after it.
    change : scalar
        M(delta) - M(0).
    """
    least, (before, after) = settings.reject_below, losses
    dtype = before.type.dtype
    if least is not None and watch is None:
        return Outcome((after - before) / change, _rejected(least, before, after, change))
    after = choose(due, [after], [before])[0]
    ratio = pt.switch(due, (after - before) / change, np.asarray(np.nan, dtype))
    if least is None or watch is None or settings.watch is None:
        return Outcome(ratio, pt.constant(np.asarray(False)))
    trusted = ~due | pt.gt(ratio, np.asarray(max(rule.upper, least), dtype))
    left = pt.maximum(watch - np.int32(1), np.int32(0))
    return Outcome(
        ratio,
        due & _rejected(least, before, after, change),
        pt.switch(trusted, left, np.int32(settings.watch)),
    )


def _rejected(
    least: float, before: TensorVariable, after: TensorVariable, change: TensorVariable
) -> TensorVariable:
    """Return whether rho is below the least, and by more than the loss's rounding."""
    dtype = before.type.dtype
    rounding = np.asarray(ROUNDING * np.finfo(dtype).eps, dtype) * abs(before)
    return ~pt.le(after - before, np.asarray(least, dtype) * change + rounding)
