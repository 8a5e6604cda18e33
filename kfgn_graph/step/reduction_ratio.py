r"""The reduction ratio of an update: when it is measured, and what follows from it.

The ratio :math:`\rho` compares the change of the loss with the change that the quadratic model
predicts. It costs a forward pass at the new parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.conditional import choose
from kfgn_graph.step.settings import Settings

#: A change of the loss by less than this number of its ulps is rounding.
ROUNDING = 100

#: The ratio is always measured for an update this many times as long as the last one: nearly all
#: rejected updates are longer.
LONG = 1.5


@dataclass(frozen=True, eq=False)
class Outcome:
    """The reduction ratio of an update, and whether the update is rejected.

    Attributes
    ----------
    ratio : scalar
        The reduction ratio; NaN where it is not measured.
    rejected : scalar bool
        Whether the update is rejected.
    resolved : scalar bool
        Whether the predicted change of the loss is above the rounding of the loss, and the loss
        changes. Otherwise the ratio is noise, and says nothing of the quadratic model.
    watch : scalar int32, optional
        For how many further updates the ratio is measured even if lambda does not adapt.
    """

    ratio: TensorVariable
    rejected: TensorVariable
    resolved: TensorVariable
    watch: TensorVariable | None = None


def watch_state(settings: Settings, dtype: str) -> dict[str, np.ndarray]:
    """Return the initial state of the watch: its count, and the length of the last update."""
    if settings.watch is None:
        return {}
    return {"watch": np.asarray(np.int32(settings.watch)), "length": np.asarray(0, dtype)}


def doubtful(
    watch: TensorVariable, last: TensorVariable, length: TensorVariable
) -> TensorVariable:
    """Return whether the ratio of an update is measured even if lambda does not adapt.

    Parameters
    ----------
    watch : scalar int32
        For how many updates it is measured in any case.
    last, length : scalars
        Norms of the last accepted update and of this one.
    """
    return pt.gt(watch, 0) | pt.gt(length, np.asarray(LONG, length.type.dtype) * last)


def outcome(
    settings: Settings,
    due: TensorVariable,
    watch: TensorVariable | None,
    losses: tuple[TensorVariable, TensorVariable],
    change: TensorVariable,
) -> Outcome:
    r"""Return the outcome of an update; the loss after it is computed only where it is due.

    Parameters
    ----------
    settings : Settings
        The damping rule and the step rule say which updates are rejected.
    due : scalar bool
        Whether the ratio is measured, for a step rule that does not measure it always.
    watch : scalar int32, optional
        The state of the watch, where there is one.
    losses : pair of scalars
        The objective on the batch, at the parameters before the update and after it.
    change : scalar
        :math:`M(\delta) - M(0)`.
    """
    least, (before, after) = settings.reject_below, losses
    dtype = before.type.dtype
    if least is not None and watch is None:
        rejected = _rejected(least, before, after, change)
        return Outcome((after - before) / change, rejected, _resolved(before, after, change))
    after = choose(due, [after], [before])[0]
    resolved = _resolved(before, after, change)
    ratio = pt.switch(due, (after - before) / change, np.asarray(np.nan, dtype))
    if least is None or watch is None or settings.watch is None:
        return Outcome(ratio, pt.constant(np.asarray(False)), resolved)
    trusted_above = max(settings.damping.trusted_above, least)
    trusted = ~due | pt.gt(ratio, np.asarray(trusted_above, dtype))
    left = pt.maximum(watch - np.int32(1), np.int32(0))
    return Outcome(
        ratio,
        due & _rejected(least, before, after, change),
        resolved,
        pt.switch(trusted, left, np.int32(settings.watch)),
    )


def _rejected(
    least: float, before: TensorVariable, after: TensorVariable, change: TensorVariable
) -> TensorVariable:
    """Return whether the ratio is below the least, by more than the loss's rounding."""
    bound = np.asarray(least, before.type.dtype) * change + _rounding(before)
    return ~pt.le(after - before, bound)


def _resolved(
    before: TensorVariable, after: TensorVariable, change: TensorVariable
) -> TensorVariable:
    """Return whether the loss shows the change that the model predicts."""
    return pt.neq(after, before) & pt.gt(abs(change), _rounding(before))


def _rounding(loss: TensorVariable) -> TensorVariable:
    """Return the rounding of a loss, which is a sum over examples."""
    dtype = loss.type.dtype
    return np.asarray(ROUNDING * np.finfo(dtype).eps, dtype) * abs(loss)
