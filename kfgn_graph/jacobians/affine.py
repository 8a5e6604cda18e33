"""Products with a matrix: the Jacobian J = W^T, the same for every example."""

from __future__ import annotations

import pytensor.tensor as pt
from pytensor.tensor.math import Dot
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.jacobians.core import (
    Blocks,
    ConstantJacobian,
    LocalJacobian,
    Segment,
    register_local_jacobian,
)
from kfgn_graph.jacobians.fallback import PullbackJacobian
from kfgn_graph.layers.ir import Affine
from kfgn_graph.linalg.matrices import is_diagonal


class AffineJacobian(ConstantJacobian):
    """The Jacobian J = W^T of h = a W + b in a."""

    def __init__(self, segment: Segment, W: TensorVariable) -> None:
        super().__init__(segment, [self._pull])
        self._W = W

    def _pull(self, C: TensorVariable) -> TensorVariable:
        flat = C.reshape((-1, C.shape[C.type.ndim - 1]))
        pulled = flat @ self._W.T
        return pulled.reshape((C.shape[0], C.shape[1], *self.segment.event(0)))

    def mean_congruence(self, G: TensorVariable) -> Blocks:
        r"""Return W G W^T, for a diagonal G as a SYRK: :math:`(W G^{1/2}) (W G^{1/2})^T`."""
        if not is_diagonal(G) or len(self.segment.event()) > 1:
            return super().mean_congruence(G)
        root = self._W * pt.sqrt(pt.diagonal(G))[None, :]
        return [[root @ root.T]]


@register_local_jacobian(Affine, Dot)
def local_jacobian_affine(op: Affine | Dot, segment: Segment) -> LocalJacobian:
    """Return dh/da = W^T for h = a W + b, which maps columns C to C W^T."""
    a, W = segment.node.inputs[:2]
    if segment.inputs != (a,) or W.type.ndim != 2:
        return PullbackJacobian(segment)
    return AffineJacobian(segment, W)
