"""Practical Gauss-Newton optimisation, compiled from ordinary PyTensor graphs.

The main door is :func:`compile_update`; :func:`trace_layers`, :func:`curvature_factors` and
:func:`kronecker_solve` are its stages, each to be used alone.
"""

from typing import TYPE_CHECKING, Any

from kfgn_graph._version import __version__
from kfgn_graph.compile import compile_update
from kfgn_graph.curvature.factors import curvature_factors
from kfgn_graph.curvature.gauss_newton import gauss_newton_product
from kfgn_graph.curvature.kronecker import ExactBlock, KroneckerFactors, kronecker_solve
from kfgn_graph.curvature.methods.exact_blocks import BlockGaussNewton, BlockHessian
from kfgn_graph.curvature.methods.kfac import KFAC
from kfgn_graph.curvature.methods.kflr import KFLR
from kfgn_graph.curvature.methods.kfra import KFRA
from kfgn_graph.errors import (
    BackendError,
    BatchError,
    CheckpointError,
    CurvatureRuleNotFound,
    KfgnError,
    NotABatchLossError,
    ParameterError,
    SpecError,
    UnmatchedParameterError,
)
from kfgn_graph.heads import register_loss_head
from kfgn_graph.jacobians import register_local_jacobian
from kfgn_graph.layers.examples import register_example_axes
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.solve.cholesky import Cholesky
from kfgn_graph.solve.eigenbasis import Eigenbasis
from kfgn_graph.solve.newton_schulz import NewtonSchulz
from kfgn_graph.step.damping import ConstantDamping, LevenbergMarquardt
from kfgn_graph.step.hessian_free import HessianFree
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.step_rules import FixedStep, Rescaling
from kfgn_graph.step.updates import kfgn_updates
from kfgn_graph.tracing import trace_layers
from kfgn_graph.update.stats import UpdateStats
from kfgn_graph.update.update import Update

if TYPE_CHECKING:
    from kfgn_graph.program.spec.models import GraphSpec

__all__ = [
    "KFAC",
    "KFLR",
    "KFRA",
    "BackendError",
    "BatchError",
    "BlockGaussNewton",
    "BlockHessian",
    "CheckpointError",
    "Cholesky",
    "ConstantDamping",
    "CurvatureRuleNotFound",
    "Eigenbasis",
    "ExactBlock",
    "FixedStep",
    "GraphSpec",
    "HessianFree",
    "KfgnError",
    "KroneckerFactors",
    "Layer",
    "LayerGraph",
    "LevenbergMarquardt",
    "NewtonSchulz",
    "NotABatchLossError",
    "ParameterError",
    "Rescaling",
    "Settings",
    "SpecError",
    "UnmatchedParameterError",
    "Update",
    "UpdateStats",
    "__version__",
    "compile_update",
    "curvature_factors",
    "gauss_newton_product",
    "kfgn_updates",
    "kronecker_solve",
    "register_example_axes",
    "register_local_jacobian",
    "register_loss_head",
    "trace_layers",
]


def __getattr__(name: str) -> Any:
    """Import :class:`GraphSpec` when it is first used: it needs what the core does without."""
    if name != "GraphSpec":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from kfgn_graph.program.spec.models import GraphSpec
    except ImportError as error:
        raise SpecError(
            f'GraphSpec cannot be imported ({error}): pip install "kfgn_graph[cli]".'
        ) from error
    return GraphSpec
