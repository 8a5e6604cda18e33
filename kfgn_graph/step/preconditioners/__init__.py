"""Preconditioners: what each method makes of the gradient."""

from kfgn_graph.step.preconditioners.base import (
    Context,
    Preconditioner,
    preconditioner_of,
    register_preconditioner,
)
from kfgn_graph.step.preconditioners.hessian_free import HessianFreePreconditioner
from kfgn_graph.step.preconditioners.kernel import KernelPreconditioner
from kfgn_graph.step.preconditioners.kronecker import KroneckerPreconditioner

__all__ = [
    "Context",
    "HessianFreePreconditioner",
    "KernelPreconditioner",
    "KroneckerPreconditioner",
    "Preconditioner",
    "preconditioner_of",
    "register_preconditioner",
]
