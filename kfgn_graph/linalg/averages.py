"""Moving averages of matrices and of iterates."""

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
    """The moving average of a factor, (d, d), which ignores estimates that are not finite.

    The inputs are the old average, the new estimate, the weight of the old average, and a flag:
    whether all estimates so far are finite. The outputs are the new average and the flag with
    this estimate included. If the flag is false the average is the old one. Estimates are
    positive semi-definite, so the diagonal of one shows whether it is finite.

    Parameters
    ----------
    inplace : bool
        Whether the result overwrites the old average.
    declared : bool
        Whether ``destroy_map`` declares this to PyTensor, which rejects it in a branch if the
        alternative branch returns the old average. With False the caller guarantees that nothing
        else reads the old average.
    """

    __props__ = ("inplace", "declared")

    def __init__(self, inplace: bool = False, declared: bool = True) -> None:
        self.inplace, self.declared = inplace, declared
        self.destroy_map = {0: [0]} if inplace and declared else {}

    def make_node(self, old: Variable, new: Variable, weight: Variable, finite: Variable) -> Apply:
        """Return the node."""
        return Apply(self, [old, new, weight, finite], [old.type(), finite.type()])

    def infer_shape(self, node: Apply, shapes: Any) -> Any:
        """Return the shapes (d, d) and ()."""
        return [shapes[0], ()]

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Compute the average in the output buffer, by BLAS."""
        old, new, weight, finite = inputs
        finite = np.asarray(finite and np.isfinite(np.trace(new)))
        average = old if self.inplace else old.copy()
        if finite:
            scal, axpy = get_blas_funcs(("scal", "axpy"), (old,))
            numbers = scal(weight, average.reshape(-1))
            numbers = axpy(new.reshape(-1), numbers, a=1 - weight)
            if not average.flags.c_contiguous:  # set by a user: `numbers` is a copy, not a view
                average[:] = numbers.reshape(average.shape)
        outputs[0][0], outputs[1][0] = average, finite


#: The largest weight of the old average of iterates (Martens and Grosse 2015), and the exponent
#: of polynomial-decay averaging (Shamir and Zhang 2013), which applies until that is reached.
ITERATE_DECAY, ITERATE_EMPHASIS = 0.99, 8


def iterate_average(
    old: TensorVariable, new: TensorVariable, count: TensorVariable
) -> TensorVariable:
    r"""Return the average of the iterates, the newest included.

    The old average has the weight :math:`\min(1 - 9 / (k + 8), 0.99)`. Early iterates are soon
    forgotten; later the average smooths the noise of the batches.

    Parameters
    ----------
    old, new : TensorVariable
        The old average and the newest iterate, of one shape.
    count : scalar TensorVariable
        k, the number of iterates, the newest included.
    """
    dtype = old.type.dtype
    emphasis, one = np.asarray(ITERATE_EMPHASIS, dtype), np.asarray(1, dtype)
    share = (emphasis + one) / (count.astype(dtype) + emphasis)
    return moving_average(old, new, pt.minimum(one - share, np.asarray(ITERATE_DECAY, dtype)))
