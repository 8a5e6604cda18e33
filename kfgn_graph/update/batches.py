"""Checks of the inputs of an update: when it is built, and at every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import explicit_graph_inputs
from pytensor.tensor.type import TensorType

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


def check_batch(inputs: Sequence[Variable], batch: Sequence[Any]) -> list[Any]:
    """Return the batch as arrays of the dtypes and shapes of the inputs.

    Raises
    ------
    BatchError
        If the number of arrays, a dtype or a shape is wrong, or there are fewer than two
        examples.
    """
    if len(batch) != len(inputs):
        raise BatchError(
            f"the update takes {len(inputs)} arrays ({names(inputs)}), but got {len(batch)}."
        )
    arrays = [_as_array(v, value) for v, value in zip(inputs, batch, strict=True)]
    sizes = {v: a.shape[0] for v, a in zip(inputs, arrays, strict=True) if a.ndim}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name_of(v)} has {n}" for v, n in sizes.items())
        raise BatchError(
            f"inputs disagree on the number of examples along their leading axis: {listed}."
        )
    n_examples = next(iter(sizes.values()), 0)
    if n_examples == 0:
        raise BatchError("the batch has no examples: skip it.")
    if n_examples == 1:
        raise BatchError(
            "the batch has one example, whose curvature has the rank of its output alone and says "
            "nothing of an expectation: pass at least two (drop or merge a short last batch)."
        )
    return arrays


def check_batches(batches: Any, data: Sequence[Any]) -> np.ndarray:
    """Return the rows of each batch as an array of int32.

    Raises
    ------
    BatchError
        If they are not a table of integers, or there is no such row in the data.
    """
    rows = np.asarray(batches)
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or not rows.size:
        raise BatchError(
            f"batches must be a table (T, B) of row numbers, one row a batch, not an array of "
            f"{rows.dtype} and shape {rows.shape}."
        )
    lengths = [np.shape(a)[0] for a in data if np.ndim(a)]
    if lengths and not (rows.min() >= 0 and rows.max() < min(lengths)):
        raise BatchError(
            f"batches name rows {rows.min()} to {rows.max()}, but the data have rows 0 to "
            f"{min(lengths) - 1}."
        )
    return rows.astype(np.int32)


def _as_array(variable: Variable, value: Any) -> Any:
    array = value if hasattr(value, "shape") and hasattr(value, "dtype") else np.asarray(value)
    wanted = variable.type
    if array.dtype != wanted.dtype and not np.can_cast(array.dtype, wanted.dtype, "safe"):
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
