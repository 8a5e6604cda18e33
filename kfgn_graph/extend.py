"""The types and decorators for those who add an Op, a loss, a method, or a rule of the step.

=========================  ==============================================================
to add                     use
=========================  ==============================================================
an Op of the network       :func:`register_local_jacobian` and :func:`register_example_axes`
a loss                     :class:`Head` or a subclass, and :func:`register_loss_head`
a Kronecker-factored       a subclass of :class:`KroneckerMethod`
method
another method             subclasses of :class:`Method` and :class:`Preconditioner`, and
                           :func:`register_preconditioner`
a damping rule             a subclass of :class:`Damping`
a step rule                a subclass of :class:`StepRule`
an inverse strategy        a subclass of :class:`Inverse`
=========================  ==============================================================
"""

from kfgn_graph.curvature.methods.base import KroneckerMethod, Method
from kfgn_graph.heads import DiagonalHead, register_loss_head
from kfgn_graph.heads.core import Head
from kfgn_graph.heads.linearity import is_linear
from kfgn_graph.heads.surrogates import Surrogate
from kfgn_graph.jacobians import register_local_jacobian
from kfgn_graph.jacobians.core import ConstantJacobian, LocalJacobian, Segment
from kfgn_graph.layers.examples import Mixes, register_example_axes
from kfgn_graph.linalg.random import Draws
from kfgn_graph.linalg.vectors import Scalars, Values
from kfgn_graph.solve import BlockDamping, Inverse, KeptBlock, Parts
from kfgn_graph.step.damping import Damping
from kfgn_graph.step.preconditioners import Context, Preconditioner, register_preconditioner
from kfgn_graph.step.quadratic_model import QuadraticModel
from kfgn_graph.step.state import State, zero_vector
from kfgn_graph.step.step_rules import StepRule

__all__ = [
    "BlockDamping",
    "ConstantJacobian",
    "Context",
    "Damping",
    "DiagonalHead",
    "Draws",
    "Head",
    "Inverse",
    "KeptBlock",
    "KroneckerMethod",
    "LocalJacobian",
    "Method",
    "Mixes",
    "Parts",
    "Preconditioner",
    "QuadraticModel",
    "Scalars",
    "Segment",
    "State",
    "StepRule",
    "Surrogate",
    "Values",
    "is_linear",
    "register_example_axes",
    "register_local_jacobian",
    "register_loss_head",
    "register_preconditioner",
    "zero_vector",
]
