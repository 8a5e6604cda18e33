"""What someone needs who adds an Op, a loss, a curvature method, or a rule of the step."""

from kfgn_graph.curvature.methods.base import KroneckerMethod, Method
from kfgn_graph.heads import register_loss_head
from kfgn_graph.heads.core import Head
from kfgn_graph.jacobians import register_local_jacobian
from kfgn_graph.jacobians.core import ConstantJacobian, LocalJacobian, Segment
from kfgn_graph.layers.examples import register_example_axes
from kfgn_graph.solve.base import Inverse
from kfgn_graph.step.damping import Damping

__all__ = [
    "ConstantJacobian",
    "Damping",
    "Head",
    "Inverse",
    "KroneckerMethod",
    "LocalJacobian",
    "Method",
    "Segment",
    "register_example_axes",
    "register_local_jacobian",
    "register_loss_head",
]
