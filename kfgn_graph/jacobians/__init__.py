"""Local Jacobians: the propagation of curvature through one segment of the network."""

# isort: off
from kfgn_graph.jacobians.core import (
    ConstantJacobian,
    LocalJacobian,
    Segment,
    local_jacobian,
    register_local_jacobian,
)

# Imported to register the rules.
import kfgn_graph.jacobians.affine
import kfgn_graph.jacobians.elementwise
import kfgn_graph.jacobians.fallback
import kfgn_graph.jacobians.maximum
import kfgn_graph.jacobians.recurrence
import kfgn_graph.jacobians.reindex
import kfgn_graph.jacobians.softmax  # noqa: F401
# isort: on

__all__ = [
    "ConstantJacobian",
    "LocalJacobian",
    "Segment",
    "local_jacobian",
    "register_local_jacobian",
]
