"""Moving averages of the curvature factors."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable


def average_weight(count: TensorVariable, decay: float, dtype: str) -> TensorVariable:
    r"""Return :math:`\epsilon_k = \min(1 - 1/k, \text{decay})`, the weight of the old average.

    Parameters
    ----------
    count : scalar integer
        k, which starts at 1: the first batch stands alone, and the average is unbiased from
        then on (Martens and Grosse 2015, section 5).
    decay : float
        The weight of the old average in the long run.
    """
    one = np.asarray(1, dtype)
    return pt.minimum(one - one / count.astype(dtype), np.asarray(decay, dtype))


def moving_average(
    old: TensorVariable, new: TensorVariable, weight: TensorVariable
) -> TensorVariable:
    """Return weight * old + (1 - weight) * new."""
    return weight * old + (np.asarray(1, weight.type.dtype) - weight) * new
