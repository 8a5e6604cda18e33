"""Local Jacobians: what one step of the network does to curvature, for every method."""

# isort: off
from kfgn_graph.jacobians.core import (
    ConstantJacobian,
    LocalJacobian,
    Segment,
    local_jacobian,
    register_local_jacobian,
)

# The rules, imported for their registrations.
import kfgn_graph.jacobians.affine
import kfgn_graph.jacobians.elementwise
import kfgn_graph.jacobians.fallback
import kfgn_graph.jacobians.reindex  # noqa: F401
# isort: on

__all__ = [
    "ConstantJacobian",
    "LocalJacobian",
    "Segment",
    "local_jacobian",
    "register_local_jacobian",
]
