"""Validation of a loss and its parameters, before any rewriting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import DisconnectedGrad, GradClip, GradScale, UndefinedGrad, ZeroGrad
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors, toposort
from pytensor.tensor.type import TensorType

from kfgn_graph.errors import CurvatureRuleNotFound, KfgnError, NotABatchLossError, ParameterError
from kfgn_graph.layers.traversal import dependents
from kfgn_graph.printing import describe
from kfgn_graph.shared_values import stored_value

#: Ops that return their input unchanged but alter its gradient.
GRADIENT_CHANGING = (DisconnectedGrad, GradClip, GradScale, UndefinedGrad, ZeroGrad)

#: The dtypes of parameters that can be trained.
TRAINABLE = ("float32", "float64")


def listed(variables: object, name: str, error: type[KfgnError]) -> list[Variable]:
    """Return several variables, given as the argument ``name``, as a list.

    Raises
    ------
    KfgnError
        Of the type ``error``, if they are one variable, a mapping or nothing to iterate over.
    """
    if isinstance(variables, Variable):
        raise error(f"{name} is one variable, {describe(variables)}: pass it in a list.")
    if isinstance(variables, Mapping):
        raise error(f"{name} is a mapping: pass the list of its values.")
    if isinstance(variables, str) or not isinstance(variables, Iterable):
        raise error(f"{name} must be a list of variables, not {type(variables).__name__}.")
    return list(variables)


def check_loss(loss: object) -> None:
    """Raise :class:`NotABatchLossError` unless ``loss`` is a real symbolic scalar."""
    if not isinstance(loss, Variable) or not isinstance(loss.type, TensorType):
        raise NotABatchLossError(f"loss must be a PyTensor scalar, not {type(loss).__name__}.")
    if loss.type.ndim != 0:
        raise NotABatchLossError(
            f"loss {describe(loss)} has {loss.type.ndim} axes; it must be a scalar: take its sum "
            "or its mean over the batch."
        )
    if not loss.type.dtype.startswith("float"):
        raise NotABatchLossError(
            f"loss {describe(loss)} has dtype {loss.type.dtype}; it must be a real floating-point "
            "scalar: cast it."
        )


def check_parameters(loss: Variable, params: Sequence[Variable]) -> str:
    """Return the common dtype of the parameters.

    Raises
    ------
    ParameterError
        If there are no parameters, if one is listed twice, is not a shared real tensor variable
        or is not in the graph of ``loss``, if one is neither float32 nor float64, or if they
        differ in dtype.
    """
    if len(params) == 0:
        raise ParameterError("params is empty: list the shared variables to train.")
    for index, p in enumerate(params):
        if p in params[:index]:
            raise ParameterError(f"params contains {describe(p)} twice: list it once.")
    reached = set(ancestors([loss]))
    for p in params:
        if not isinstance(p, SharedVariable) or not isinstance(p.type, TensorType):
            what = describe(p) if isinstance(p, Variable) else repr(p)
            raise ParameterError(
                f"parameter {what} is not a shared tensor variable: "
                "create it with pytensor.shared(value, name=...)."
            )
        if not p.type.dtype.startswith("float"):
            raise ParameterError(
                f"parameter {describe(p)} has dtype {p.type.dtype}; only real floating-point "
                "parameters can be trained: cast its value."
            )
        if p not in reached:
            raise ParameterError(
                f"parameter {describe(p)} is not in the graph of the loss: check that the loss "
                "was built from this very variable, or remove it from `params`."
            )
        if p.type.dtype not in TRAINABLE:
            raise ParameterError(
                f"parameter {describe(p)} has dtype {p.type.dtype}, in which factors cannot be "
                "inverted: keep parameters in float32 or float64. Data may have another dtype; "
                "they are cast."
            )
        if 0 in (shape := np.shape(stored_value(p))):
            raise ParameterError(
                f"parameter {describe(p)} has the shape {shape}, without entries: remove it, or "
                "give its layer a width."
            )
    dtypes = {p.type.dtype for p in params}
    if len(dtypes) > 1:
        raise ParameterError(f"parameters have different dtypes, {sorted(dtypes)}: use one.")
    return dtypes.pop()


def check_gradients(loss: Variable, params: Sequence[Variable]) -> None:
    """Raise :class:`CurvatureRuleNotFound` if an Op alters the gradient in a parameter."""
    varying = dependents([loss], params)
    for node in toposort([loss]):
        if isinstance(node.op, GRADIENT_CHANGING) and any(v in varying for v in node.inputs):
            raise CurvatureRuleNotFound(
                f"{node.op} alters the gradient through {describe(node.inputs[0])}, so that the "
                "curvature of the loss is not consistent with its gradient. Remove this Op, or "
                "apply it only to variables that do not depend on a parameter."
            )
