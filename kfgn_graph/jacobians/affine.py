"""Products with a matrix that is the same for every example: J = W^T, acting on the last axis."""

from __future__ import annotations

from pytensor.tensor.math import Dot
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.jacobians.core import (
    ConstantJacobian,
    LocalJacobian,
    Segment,
    register_local_jacobian,
)
from kfgn_graph.jacobians.fallback import PullbackJacobian
from kfgn_graph.layers.ir import Affine


@register_local_jacobian(Affine, Dot)
def local_jacobian_affine(op: Affine | Dot, segment: Segment) -> LocalJacobian:
    """dh/da = W^T for h = a W + b: a message C becomes C W^T."""
    a, W = segment.node.inputs[:2]
    if segment.inputs != (a,) or W.type.ndim != 2:
        return PullbackJacobian(segment)

    def pull(C: TensorVariable) -> TensorVariable:
        flat = C.reshape((-1, C.shape[C.type.ndim - 1]))
        return (flat @ W.T).reshape((C.shape[0], C.shape[1], *segment.event(0)))

    return ConstantJacobian(segment, [pull])
