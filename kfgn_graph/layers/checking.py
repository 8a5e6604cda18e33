"""Checking a loss and its parameters before anything is read."""

from __future__ import annotations

from collections.abc import Sequence

from pytensor.compile.sharedvalue import SharedVariable
from pytensor.gradient import DisconnectedGrad, GradClip, GradScale, UndefinedGrad, ZeroGrad
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors, toposort
from pytensor.tensor.type import TensorType

from kfgn_graph.errors import CurvatureRuleNotFound, NotABatchLossError, ParameterError
from kfgn_graph.layers.traversal import dependents
from kfgn_graph.printing import describe

#: Identities whose derivative is not the identity.
GRADIENT_CHANGING = (DisconnectedGrad, GradClip, GradScale, UndefinedGrad, ZeroGrad)


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
            f"loss {describe(loss)} has dtype {loss.type.dtype}, not a real one."
        )


def check_parameters(loss: Variable, params: Sequence[Variable]) -> str:
    """Return the parameters' common dtype, or raise :class:`ParameterError`."""
    if len(params) == 0:
        raise ParameterError("params is empty: name the shared variables to train.")
    for index, p in enumerate(params):
        if p in params[:index]:
            raise ParameterError(f"params names {describe(p)} twice: name it once.")
    reached = set(ancestors([loss]))
    for p in params:
        if not isinstance(p, SharedVariable) or not isinstance(p.type, TensorType):
            what = describe(p) if isinstance(p, Variable) else repr(p)
            raise ParameterError(
                f"parameter {what} is not a shared tensor variable: "
                "make it one with pytensor.shared(value, name=...)."
            )
        if not p.type.dtype.startswith("float"):
            raise ParameterError(
                f"parameter {describe(p)} has dtype {p.type.dtype}; only real floating-point "
                "parameters can be trained: cast its value."
            )
        if p not in reached:
            raise ParameterError(
                f"parameter {describe(p)} is not in the graph of the loss: check that the loss "
                "was built from this variable, or leave it out of `params`."
            )
    dtypes = {p.type.dtype for p in params}
    if len(dtypes) > 1:
        raise ParameterError(f"parameters have several dtypes, {sorted(dtypes)}: use one.")
    return dtypes.pop()


def check_gradients(loss: Variable, params: Sequence[Variable]) -> None:
    """Raise :class:`CurvatureRuleNotFound` where the user's graph alters a gradient on its way."""
    varying = dependents([loss], params)
    for node in toposort([loss]):
        if isinstance(node.op, GRADIENT_CHANGING) and any(v in varying for v in node.inputs):
            raise CurvatureRuleNotFound(
                f"{node.op} changes the gradient of {describe(node.inputs[0])} in the "
                "parameters: the loss is then not the function whose curvature would be read. "
                "Apply it to what no parameter feeds, or remove it."
            )
