r"""Products, traces and inverses of symmetric matrices, a diagonal one given by its diagonal.

A factor A of a Kronecker product is a matrix, (d, d), or, if it is diagonal, the vector of its
diagonal, (d,). No function here forms a matrix from a vector, except :func:`as_matrix`.
"""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.averages import moving_average
from kfgn_graph.linalg.matrices import diagonal, identity_like, scaled_product
from kfgn_graph.linalg.vectors import all_finite


def is_vector(A: TensorVariable) -> bool:
    """Return whether a diagonal matrix is given by its diagonal, (d,)."""
    return A.type.ndim == 1


def left_product(A: TensorVariable, V: TensorVariable) -> TensorVariable:
    """Return A V, of the shape of V, (d, m)."""
    return A[:, None] * V if is_vector(A) else A @ V


def right_product(V: TensorVariable, A: TensorVariable) -> TensorVariable:
    """Return V A, of the shape of V, (n, d)."""
    return V * A[None, :] if is_vector(A) else scaled_product(V, A)


def trace(A: TensorVariable) -> TensorVariable:
    """Return the sum of the diagonal."""
    return A.sum() if is_vector(A) else pt.trace(A)


def shifted(A: TensorVariable, shift: TensorVariable) -> TensorVariable:
    """Return A + shift I, of the shape of A."""
    return A + shift if is_vector(A) else A + shift * identity_like(A)


def as_matrix(A: TensorVariable) -> TensorVariable:
    """Return the matrix, (d, d)."""
    return diagonal(A) if is_vector(A) else A


def inverse_of_vector(
    d: TensorVariable, shift: TensorVariable, retry: float = 0.0
) -> TensorVariable:
    """Return 1 / (d + shift), of the shape of d, (d,); NaN unless every entry is positive.

    If ``retry`` is not 0, the shift is first multiplied by it for a second attempt.
    """
    moved = d + shift
    if retry:
        again = d + np.asarray(retry, d.type.dtype) * shift
        moved = pt.switch(pt.all(moved > 0), moved, again)
    return pt.switch(pt.all(moved > 0), 1 / moved, np.asarray(np.nan, d.type.dtype))


def refreshed_inverse_of_vector(
    old: TensorVariable,
    d: TensorVariable,
    shift: TensorVariable,
    due: TensorVariable,
    retry: float = 0.0,
) -> tuple[TensorVariable, TensorVariable]:
    """Return :func:`inverse_of_vector` if a refresh is due and it is finite, else the old one.

    Returns
    -------
    inverse : TensorVariable
        Of the shape of d, (d,).
    finite : scalar TensorVariable
        False if a refresh is due and the new inverse is not finite.
    """
    fresh = inverse_of_vector(d, shift, retry)
    finite = all_finite([fresh])
    return pt.switch(due & finite, fresh, old), ~due | finite


def average_of_vectors(
    old: TensorVariable, new: TensorVariable, weight: TensorVariable, finite: TensorVariable
) -> tuple[TensorVariable, TensorVariable]:
    """Return the moving average of a vector, which ignores estimates that are not finite.

    Parameters
    ----------
    old, new : TensorVariable
        The old average and the new estimate, of one shape.
    weight : scalar TensorVariable
        The weight of the old average.
    finite : scalar TensorVariable
        Whether all estimates so far are finite.

    Returns
    -------
    average : TensorVariable
        The old average if this estimate or an earlier one is not finite.
    finite : scalar TensorVariable
        The flag with this estimate included.
    """
    finite = finite & all_finite([new])
    return pt.switch(finite, moving_average(old, new, weight), old), finite
