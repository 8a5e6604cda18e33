"""Moving averages of the curvature factors."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.schedule import times_due


def average_weight(count: TensorVariable, decay: float, every: int, dtype: str) -> TensorVariable:
    r"""Return :math:`\epsilon_k = \min(1 - 1/k, \text{decay})`, the weight of the old average.

    Parameters
    ----------
    count : scalar integer
        The number of the update, from 1: the first batch stands alone, and the average is
        unbiased from then on (Martens and Grosse 2015, section 5).
    decay : float
        The weight of the old average in the long run.
    every : int
        Updates from one estimate to the next, after the first; k counts estimates.
    """
    one = np.asarray(1, dtype)
    k = times_due(count, every).astype(dtype)
    return pt.minimum(one - one / k, np.asarray(decay, dtype))


def moving_average(
    old: TensorVariable, new: TensorVariable, weight: TensorVariable
) -> TensorVariable:
    """Return weight * old + (1 - weight) * new."""
    return weight * old + (np.asarray(1, weight.type.dtype) - weight) * new


#: The greatest weight of the old average of iterates (Martens and Grosse 2015), and how much
#: more than an even share the newest iterate has before that (Shamir and Zhang 2013).
ITERATE_DECAY, ITERATE_EMPHASIS = 0.99, 8


def iterate_average(
    old: TensorVariable, new: TensorVariable, count: TensorVariable
) -> TensorVariable:
    r"""Return the average of iterates, this one included, for reporting.

    The old average weighs :math:`\min(1 - 9 / (k + 8), 0.99)`: early iterates are soon
    forgotten, and later the average stands still where the iterates wander with the batches.
    """
    dtype = old.type.dtype
    emphasis, one = np.asarray(ITERATE_EMPHASIS, dtype), np.asarray(1, dtype)
    share = (emphasis + one) / (count.astype(dtype) + emphasis)
    return moving_average(old, new, pt.minimum(one - share, np.asarray(ITERATE_DECAY, dtype)))
