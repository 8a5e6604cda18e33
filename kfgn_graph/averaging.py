"""Moving averages of the curvature factors."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable


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
        Updates from one estimate to the next; k counts estimates.
    """
    one = np.asarray(1, dtype)
    k = (count - np.int32(1)) // np.int32(every) + np.int32(1)
    return pt.minimum(one - one / k.astype(dtype), np.asarray(decay, dtype))


def moving_average(
    old: TensorVariable, new: TensorVariable, weight: TensorVariable
) -> TensorVariable:
    """Return weight * old + (1 - weight) * new."""
    return weight * old + (np.asarray(1, weight.type.dtype) - weight) * new


#: The weight of the old average of iterates in the long run (Martens and Grosse 2015).
ITERATE_DECAY = 0.99


def iterate_average(
    old: TensorVariable, new: TensorVariable, count: TensorVariable
) -> TensorVariable:
    r"""Return the average of iterates, of weight :math:`\min(1 - 1/k, 0.99)`, this one included.

    For reporting: it stands still where the iterates themselves wander with the batches.
    """
    return moving_average(old, new, average_weight(count, ITERATE_DECAY, 1, old.type.dtype))
