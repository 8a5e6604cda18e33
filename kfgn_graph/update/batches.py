"""Checks of the inputs of an update: when it is built, and at every call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import explicit_graph_inputs
from pytensor.tensor.type import TensorType

from kfgn_graph.backends.base import Backend
from kfgn_graph.errors import BatchError
from kfgn_graph.printing import describe, name_of, names


def check_inputs(loss: Variable, inputs: Sequence[Variable]) -> None:
    """Raise :class:`BatchError` unless ``inputs`` are the unset variables of the loss."""
    for v in inputs:
        if not isinstance(v, Variable) or not isinstance(v.type, TensorType):
            raise BatchError(
                f"inputs must be symbolic tensor variables, not {type(v).__name__} {v!r}."
            )
        if isinstance(v, SharedVariable | Constant) or v.owner is not None:
            raise BatchError(
                f"input {describe(v)} is not an input variable: it has a value already."
            )
    missing = [
        v
        for v in explicit_graph_inputs([loss])
        if not isinstance(v, SharedVariable | Constant) and v not in inputs
    ]
    if missing:
        raise BatchError(
            f"inputs leave the graph incomplete: the loss also reads {names(missing)}. Add what "
            "is missing to `inputs`, in the order in which batches will be given."
        )


def check_batch(inputs: Sequence[Variable], batch: Sequence[Any], backend: Backend) -> list[Any]:
    """Return the batch as arrays of the dtypes and shapes of the inputs.

    Raises
    ------
    BatchError
        If the number of arrays is wrong, or one of them cannot be read or has a wrong dtype or
        shape.
    """
    if len(batch) != len(inputs):
        raise BatchError(
            f"the update takes {len(inputs)} arrays ({names(inputs)}), but got {len(batch)}."
        )
    plain = [plain_array(v, value, backend) for v, value in zip(inputs, batch, strict=True)]
    return [_fitting(v, a) for v, a in zip(inputs, plain, strict=True)]


def check_examples(
    inputs: Sequence[Variable],
    arrays: Sequence[Any],
    by_row: Sequence[bool],
    count: Callable[[], int],
) -> None:
    """Raise :class:`BatchError` unless the arrays agree on a number of at least two examples.

    Parameters
    ----------
    inputs : sequence of Variable
        The inputs.
    arrays : sequence of arrays
        One for each input.
    by_row : sequence of bool
        Whether the leading axis of each input enumerates examples.
    count : callable
        Returns the number of examples; called where no input has them.
    """
    triples = zip(inputs, arrays, by_row, strict=True)
    sizes = {v: a.shape[0] for v, a, rows in triples if rows}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name_of(v)} has {n}" for v, n in sizes.items())
        raise BatchError(
            f"inputs disagree on the number of examples along their leading axis: {listed}. "
            "Terms of the loss at different points, such as those of an equation and of its "
            "boundary, take one input for all points, and one that selects each point's term."
        )
    n_examples = next(iter(sizes.values())) if sizes else count()
    if n_examples == 0:
        raise BatchError("the batch has no examples: skip it.")
    if n_examples == 1:
        raise BatchError(
            "the batch has one example, whose curvature has the rank of its output alone and says "
            "nothing of an expectation: pass at least two (drop or merge a short last batch)."
        )


def check_batches(batches: Any, data: Sequence[Any]) -> np.ndarray:
    """Return the rows of each batch as an array of int32.

    Parameters
    ----------
    batches : array
        The rows of each batch.
    data : sequence of arrays
        The arrays whose leading axis enumerates examples.

    Raises
    ------
    BatchError
        If they are not a table of integers, or there is no such row in the data.
    """
    try:
        rows = np.asarray(batches)
    except ValueError as error:
        raise BatchError(
            "batches differ in length: pass a table (T, B) of row numbers, and call the update "
            "for a shorter last batch."
        ) from error
    if np.ma.is_masked(batches):
        raise BatchError("batches have masked entries, which would be read as numbers of rows.")
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or not rows.size:
        raise BatchError(
            f"batches must be a table (T, B) of row numbers, one row a batch, not an array of "
            f"{rows.dtype} and shape {rows.shape}."
        )
    lengths = [a.shape[0] for a in data]
    if not lengths:
        raise BatchError(
            "batches name rows of the data, but no input of this update has rows: call the update "
            "once for each batch."
        )
    if len(set(lengths)) > 1:
        raise BatchError(
            f"the data have different numbers of rows, {', '.join(map(str, lengths))}: each array "
            "must hold the same examples."
        )
    if not (rows.min() >= 0 and rows.max() < min(lengths)):
        raise BatchError(
            f"batches name rows {rows.min()} to {rows.max()}, but the data have rows 0 to "
            f"{min(lengths) - 1}."
        )
    return rows.astype(np.int32)


def plain_array(variable: Variable, value: Any, backend: Backend) -> Any:
    """Return what was passed for an input as a plain array that the backend reads.

    Arrays of other libraries and subclasses of NumPy's are converted.

    Raises
    ------
    BatchError
        If entries are masked, the array is sparse, or the value is no array of numbers.
    """
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Variable):
        raise BatchError(
            f"input {name_of(variable)} got the symbolic variable {describe(value)}: pass an "
            "array, such as the variable's value."
        )
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise BatchError(
            f"input {name_of(variable)} has {np.ma.count_masked(value)} masked entries, which an "
            "update would read as numbers: fill them, by .filled(...), and give their terms of "
            "the loss the weight 0, or drop these examples."
        )
    if hasattr(value, "toarray") or hasattr(value, "todense"):
        raise BatchError(
            f"input {name_of(variable)} is sparse ({kind}): convert it with "
            f"{'.toarray()' if hasattr(value, 'toarray') else '.todense()'}."
        )
    if type(value) in (bool, int, float):
        return _from_number(variable, value)
    try:
        array = backend.array(value)
    except Exception as error:
        raise BatchError(
            f"input {name_of(variable)} is a {kind} that NumPy cannot convert to an array "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}): "
            "pass an array of NumPy."
        ) from error
    if array.dtype == object:
        raise BatchError(
            f"input {name_of(variable)} is a {kind} that NumPy converts to an array of objects, "
            f"not of numbers (dtype object): pass an array of {variable.type.dtype}."
        )
    return array


def _from_number(variable: Variable, value: float) -> np.ndarray:
    """Return a number of Python in the dtype of the input, if the dtype has such numbers."""
    array, wanted = np.asarray(value), np.dtype(variable.type.dtype)
    if wanted.kind == "f" or (wanted.kind in "iu" and array.dtype.kind in "bi"):
        with np.errstate(over="ignore"), suppress(OverflowError):
            return np.asarray(value, wanted)
    return array


def _fitting(variable: Variable, array: Any) -> Any:
    """Return the array in the dtype of the input; raise if that or the shape does not fit."""
    wanted = variable.type
    if array.dtype != wanted.dtype and not _can_cast(array.dtype, wanted.dtype):
        raise BatchError(
            f"input {name_of(variable)} has dtype {array.dtype}, but {wanted.dtype} is "
            f"wanted: convert it with .astype({wanted.dtype!r})."
        )
    fits = array.ndim == wanted.ndim and all(
        s is None or s == n for s, n in zip(wanted.shape, array.shape, strict=True)
    )
    if not fits:
        expected = tuple("N" if s is None else s for s in wanted.shape)
        raise BatchError(
            f"input {name_of(variable)} has shape {array.shape}, but {expected} is wanted."
        )
    return array if array.dtype == wanted.dtype else array.astype(wanted.dtype)


def _can_cast(given: Any, wanted: str) -> bool:
    try:
        return np.can_cast(given, wanted, "safe")
    except TypeError:  # no dtype of NumPy, such as the one of JAX's random keys
        return False
