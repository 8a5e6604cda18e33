"""Values of variables that depend on the inputs alone, computed before an update."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import ancestors, graph_inputs
from pytensor.tensor.rewriting.shape import ShapeFeature
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.type import TensorType
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.shared_values import value_shape


class Values:
    """Variables as a function of the inputs, evaluated Op by Op in Python.

    Parameters
    ----------
    inputs : sequence of Variable
        The inputs; other variables that are read are shared or constant.
    variables : sequence of Variable
        The variables.
    """

    def __init__(self, inputs: Sequence[Variable], variables: Sequence[Variable]) -> None:
        self._inputs, self._variables = list(inputs), list(variables)
        self._function: Function | None = None

    def __call__(self, batch: Sequence[Any]) -> list[np.ndarray]:
        """Return the values for a batch, one array for each input."""
        if not self._variables:
            return []
        if self._function is None:
            mode = Mode(linker="py", optimizer=None)
            self._function = pytensor.function(
                self._inputs, self._variables, mode=mode, on_unused_input="ignore"
            )
        return [np.asarray(v) for v in self._function(*map(np.asarray, batch))]


def reads(variable: Variable, others: Collection[Variable]) -> bool:
    """Return whether a variable depends on one of the others."""
    return any(v in others for v in ancestors([variable]))


def length_of(variable: Variable, axis: int) -> Variable:
    """Return the length of an axis, in terms of the shapes of the graph's inputs."""
    static = variable.type.shape[axis]
    return pt.as_tensor(ShapeFeature().shape_tuple(variable)[axis] if static is None else static)


def size_for(variable: TensorVariable, arrays: Mapping[Variable, Any]) -> int | None:
    """Return the number of entries of a variable for inputs of known shapes; None if unknown.

    Nothing is computed: the shapes are inferred from those of the inputs and of shared variables.

    Parameters
    ----------
    variable : TensorVariable
        A variable of the network.
    arrays : mapping
        The value of each input.
    """
    known: dict[Variable, Variable] = {
        v: TensorType(v.type.dtype, np.shape(a))() for v, a in arrays.items()
    }
    for v in graph_inputs([variable]):
        if isinstance(v, TensorSharedVariable):
            known[v] = TensorType(v.type.dtype, value_shape(v))()
    (static,) = clone_replace([variable], known, rebuild_strict=False)
    if None not in static.type.shape:
        return int(np.prod(static.type.shape))
    shape = rewrite_graph(pt.stack(list(static.shape)), include=("canonicalize", "ShapeOpt"))
    return int(np.prod(shape.data)) if isinstance(shape, Constant) else None
