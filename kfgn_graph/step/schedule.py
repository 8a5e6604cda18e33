"""The schedule of everything that is not done at every update."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

#: Number of updates at the start that do everything, whatever the period: the curvature changes
#: fastest there (Martens and Grosse 2015, section 8, refresh at the first 3).
FIRST = 50


def is_due(count: TensorVariable, every: int) -> TensorVariable:
    """Return whether something is due: at each of the first updates, then periodically.

    Parameters
    ----------
    count : scalar integer
        The number of the update, from 1.
    every : int
        The period, in updates.
    """
    return pt.le(count, np.int32(FIRST)) | pt.eq(count % np.int32(every), 0)


def search_due(count: TensorVariable, every: int) -> TensorVariable:
    """Return whether gamma is searched for at an update."""
    return pt.eq(count % np.int32(every), 0)


def times_due(count: TensorVariable, every: int) -> TensorVariable:
    """Return the number of times something was due, this update included."""
    late = count // np.int32(every) - np.int32(FIRST // every)
    return pt.minimum(count, np.int32(FIRST)) + pt.maximum(late, np.int32(0))


def average_weight(count: TensorVariable, decay: float, every: int, dtype: str) -> TensorVariable:
    r"""Return :math:`\epsilon_k = \min(1 - 1/k, \text{decay})`, the weight of the old average.

    Parameters
    ----------
    count : scalar integer
        The number of the update, from 1. The first estimate has weight 1, so that the average is
        unbiased (Martens and Grosse 2015, section 5).
    decay : float
        The weight of the old average in the limit.
    every : int
        The period of the estimates, in updates; k counts estimates.
    """
    one = np.asarray(1, dtype)
    k = times_due(count, every).astype(dtype)
    return pt.minimum(one - one / k, np.asarray(decay, dtype))
