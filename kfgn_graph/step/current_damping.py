r"""Lambda of one update: its value, its bounds in the dtype, and its value for the next update."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import SpecError
from kfgn_graph.linalg.conditional import choose
from kfgn_graph.linalg.vectors import Values
from kfgn_graph.step.damping import Damping
from kfgn_graph.step.preconditioners import Preconditioner
from kfgn_graph.step.state import State

#: Curvature below this share of the gradient's norm counts as absent: the precision of float64.
ABSENT = 2.0**-52

#: Value of the state ``failed`` after a batch that was not finite. It is 2 after a step that
#: failed, and 0 after an update that was taken.
BAD_BATCH = 1


class CurrentDamping:
    """Lambda of one update, by a damping rule from the state.

    Parameters
    ----------
    rule : Damping
        The damping rule.
    state : State
        The variables that persist.
    """

    def __init__(self, rule: Damping, state: State) -> None:
        self.rule, self.state = rule, state

    @cached_property
    def stored(self) -> TensorVariable | None:
        """Lambda; after a batch that was not finite, lambda from before it."""
        kept = self.state.get("damping")
        if kept is None:
            return None
        after_bad_batch = pt.eq(self.state["failed"], BAD_BATCH)
        return pt.switch(after_bad_batch, self.rule.recovered(kept), kept)

    def value(
        self, first: TensorVariable, preconditioner: Preconditioner, size: int
    ) -> tuple[TensorVariable, TensorVariable]:
        """Return lambda, and whether the dtype's precision raised it.

        Parameters
        ----------
        first : scalar TensorVariable
            Lambda of the first update.
        preconditioner : Preconditioner
            The curvature that bounds lambda.
        size : int
            The length of the largest factor.
        """
        damping, kept = first, self.stored
        if kept is not None:
            # a sum, since XLA gives a constant that a branch returns a dtype of its own
            damping = choose(pt.gt(kept, 0), [kept], [damping + kept])[0]
        bounding, least = preconditioner.bounding_curvature, preconditioner.least_damping
        damping = self.rule.bounded(
            damping, preconditioner.mean_curvature if bounding is None else bounding
        )
        least = least_damping(preconditioner.greatest_block, size) if least is None else least
        return pt.maximum(damping, least), pt.lt(damping, least)

    def following(
        self,
        damping: TensorVariable,
        adapted: TensorVariable | None,
        failed: TensorVariable,
        finite_batch: TensorVariable,
    ) -> Values:
        """Return the new state: after a failure lambda grows, after a bad batch until a good one.

        A loss, gradient or curvature that is not finite at the current parameters says nothing of
        the quadratic model. Lambda is raised from the value before the batch, however many such
        batches follow each other, and the next finite batch begins from that value.

        Parameters
        ----------
        damping : scalar TensorVariable
            Lambda of this update.
        adapted : scalar TensorVariable, optional
            Lambda after an update that is taken; None if lambda does not persist.
        failed, finite_batch : scalar TensorVariables
            Whether the update is skipped or rejected, and whether the batch was finite.
        """
        failed_step = failed & finite_batch
        new: Values = {self.state["failed"]: failed.astype("int32") + failed_step.astype("int32")}
        kept, stored = self.state.get("damping"), self.stored
        if kept is not None and stored is not None and adapted is not None:
            raised = self.rule.after_failure(pt.switch(finite_batch, damping, stored))
            new[kept] = pt.switch(failed, raised, adapted)
        return new


def first_damping(
    rule: Damping,
    trace: TensorVariable,
    outputs: TensorVariable,
    whole: TensorVariable,
    slope: TensorVariable,
) -> TensorVariable:
    r"""Return a rule's first lambda for the curvature :math:`\max(\min(c, t), s - c/\epsilon)`.

    It is c where the loss has curvature, :math:`c \ge \epsilon s`, unless all parameters together
    have less: inputs of a small scale have little curvature, and a lambda above its trace t damps
    every direction. Where the loss has none, it is s, the curvature that makes the first step
    along the gradient as long as 1. For c below t it is continuous in c.

    Parameters
    ----------
    rule : Damping
        The damping rule.
    trace, outputs : scalar TensorVariables
        The trace of the loss's Hessian at the output, summed over examples, and the number of
        outputs: c is their quotient.
    whole : scalar TensorVariable
        t, the trace of the curvature of all parameters.
    slope : scalar TensorVariable
        s, the norm of the gradient over all parameters.

    Raises
    ------
    SpecError
        If the rule returns no scalar variable.
    """
    present = rule.first(pt.minimum(trace / outputs, whole))
    if not isinstance(present, Variable) or present.type.ndim != 0:
        raise SpecError(
            f"{type(rule).__name__}.first must return a scalar variable, not {present!r}."
        )
    if isinstance(present, Constant):
        return present
    # a switch, since a maximum within `first` would keep its constants from being merged
    share = pt.abs(trace) / (outputs * np.asarray(ABSENT, trace.type.dtype))
    return pt.switch(pt.lt(share, slope), rule.first(slope - share), present)


def applied_damping(damping: TensorVariable) -> TensorVariable:
    r"""Return the :math:`\lambda` that enters the system: 1 where :math:`\lambda` is 0.

    It is 0 until a batch has curvature or a gradient. The step is then 0, whatever damps it.
    """
    return pt.switch(pt.eq(damping, 0), np.asarray(1, damping.type.dtype), damping)


def least_damping(curvature: TensorVariable, size: int) -> TensorVariable:
    r"""Return the lambda below which a Cholesky factor of the dtype may fail.

    Rounding moves the eigenvalues of a (d, d) factor by some :math:`d\,\epsilon` of its mean
    eigenvalue times d; damping is to stay above that in both factors of a block, so that
    :math:`\lambda \ge (d\,\epsilon)^2` times the block's mean curvature.

    Parameters
    ----------
    curvature : scalar TensorVariable
        The largest mean eigenvalue of a block.
    size : int
        d, of the largest factor.
    """
    dtype = curvature.type.dtype
    return curvature * np.asarray((size * np.finfo(dtype).eps) ** 2, dtype)
