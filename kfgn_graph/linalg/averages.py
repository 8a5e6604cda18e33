r"""Moving averages of the curvature factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.tensor.variable import TensorVariable
from scipy.linalg.blas import get_blas_funcs


def moving_average(
    old: TensorVariable, new: TensorVariable, weight: TensorVariable
) -> TensorVariable:
    """Return weight * old + (1 - weight) * new."""
    return weight * old + (np.asarray(1, weight.dtype) - weight) * new


class FactorAverage(Op):
    r"""The moving average of a factor, (d, d); the old one where the new estimate is not finite.

    Inputs are the old average, the new estimate, the weight of the old one, and whether all before
    it was sound; the second output is whether that still holds. An estimate is positive
    semi-definite, so that its diagonal tells whether it is finite.

    Parameters
    ----------
    inplace : bool
        Whether the result takes the old average's memory.
    declared : bool
        Whether PyTensor is told so. It would refuse a branch whose alternative passes the old
        one on: who does not tell it knows that nobody else reads that (``backends/passing.py``).
    """

    __props__ = ("inplace", "declared")

    def __init__(self, inplace: bool = False, declared: bool = True) -> None:
        self.inplace, self.declared = inplace, declared
        self.destroy_map = {0: [0]} if inplace and declared else {}

    def make_node(self, old: Variable, new: Variable, weight: Variable, sound: Variable) -> Apply:
        """Return the node."""
        return Apply(self, [old, new, weight, sound], [old.type(), sound.type()])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return (d, d), and that of a scalar."""
        return [shapes[0], ()]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Average where the result is, by BLAS."""
        old, new, weight, sound = inputs
        sound = np.asarray(sound and np.isfinite(np.trace(new)))
        average = old if self.inplace else old.copy()
        if sound:
            scal, axpy = get_blas_funcs(("scal", "axpy"), (old,))
            numbers = scal(weight, average.reshape(-1))
            numbers = axpy(new.reshape(-1), numbers, a=1 - weight)
            if not average.flags.c_contiguous:  # a user has set it so: the numbers are a copy
                average[:] = numbers.reshape(average.shape)
        outputs[0][0], outputs[1][0] = average, sound


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
