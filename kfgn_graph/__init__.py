"""Practical Gauss-Newton optimisation, compiled from ordinary PyTensor graphs.

The main entry point is :func:`compile_update`. Three of its stages can be used on their own:
:func:`trace_layers`, :func:`curvature_factors` and :func:`kronecker_solve`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kfgn_graph._version import __version__
from kfgn_graph.compile import compile_update
from kfgn_graph.curvature.diagonal import DiagonalBlock
from kfgn_graph.curvature.factors import curvature_factors
from kfgn_graph.curvature.gauss_newton import gauss_newton_product
from kfgn_graph.curvature.kronecker import ExactBlock, KroneckerFactors
from kfgn_graph.curvature.kronecker_sum import KroneckerSum, kronecker_solve
from kfgn_graph.curvature.methods.auto import Auto
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
    StalledTrainingWarning,
    UnmatchedParameterError,
    ZeroCurvatureWarning,
)
from kfgn_graph.heads import register_loss_head
from kfgn_graph.heads.surrogates import AbsoluteCurvature, Majoriser
from kfgn_graph.jacobians import register_local_jacobian
from kfgn_graph.layers.examples import register_example_axes
from kfgn_graph.layers.graph import DiagonalParameter, Layer, LayerGraph
from kfgn_graph.solve.cholesky import Cholesky
from kfgn_graph.solve.eigenbasis import Eigenbasis
from kfgn_graph.solve.newton_schulz import NewtonSchulz
from kfgn_graph.step.damping import ConstantDamping, LevenbergMarquardt
from kfgn_graph.step.hessian_free import HessianFree
from kfgn_graph.step.kernel import KernelGaussNewton
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.step_rules import FixedStep, Rescaling
from kfgn_graph.step.updates import kfgn_updates
from kfgn_graph.tracing import trace_layers
from kfgn_graph.update.stats import UpdateStats
from kfgn_graph.update.update import Update

if TYPE_CHECKING:
    from kfgn_graph.program.catalogue import load_data
    from kfgn_graph.program.checkpoints import assign_parameters, load_parameters
    from kfgn_graph.program.comparison_picture import sliding_mean
    from kfgn_graph.program.datasets.dataset import Dataset
    from kfgn_graph.program.datasets.files import DataCorrupt, DataNotFound
    from kfgn_graph.program.explanation.prediction import predict_update
    from kfgn_graph.program.launching import resume_run, train_run
    from kfgn_graph.program.loop import History, LoopState, fit
    from kfgn_graph.program.machine import machine_record
    from kfgn_graph.program.networks import Network, perceptron
    from kfgn_graph.program.rules import compile_first_order
    from kfgn_graph.program.runs import RunRecord, read_run
    from kfgn_graph.program.spec.models import GraphSpec

__all__ = [
    "AbsoluteCurvature",
    "KFAC",
    "KFLR",
    "KFRA",
    "Auto",
    "BackendError",
    "BatchError",
    "BlockGaussNewton",
    "BlockHessian",
    "CheckpointError",
    "Cholesky",
    "ConstantDamping",
    "CurvatureRuleNotFound",
    "DataCorrupt",
    "DataNotFound",
    "Dataset",
    "DiagonalBlock",
    "DiagonalParameter",
    "Eigenbasis",
    "ExactBlock",
    "FixedStep",
    "GraphSpec",
    "HessianFree",
    "History",
    "KernelGaussNewton",
    "KfgnError",
    "KroneckerFactors",
    "KroneckerSum",
    "Layer",
    "LayerGraph",
    "LevenbergMarquardt",
    "LoopState",
    "Majoriser",
    "Network",
    "NewtonSchulz",
    "NotABatchLossError",
    "ParameterError",
    "Rescaling",
    "Settings",
    "RunRecord",
    "SpecError",
    "StalledTrainingWarning",
    "UnmatchedParameterError",
    "Update",
    "UpdateStats",
    "ZeroCurvatureWarning",
    "__version__",
    "assign_parameters",
    "compile_first_order",
    "compile_update",
    "curvature_factors",
    "fit",
    "gauss_newton_product",
    "kfgn_updates",
    "kronecker_solve",
    "load_data",
    "load_parameters",
    "machine_record",
    "perceptron",
    "predict_update",
    "read_run",
    "register_example_axes",
    "register_local_jacobian",
    "register_loss_head",
    "resume_run",
    "sliding_mean",
    "trace_layers",
    "train_run",
]


#: Public names of the program, with the modules that define them. They are imported at first use,
#: since the program needs packages that the compiler does without.
_PROGRAM = {
    "DataCorrupt": "datasets.files",
    "DataNotFound": "datasets.files",
    "Dataset": "datasets.dataset",
    "GraphSpec": "spec.models",
    "History": "loop",
    "LoopState": "loop",
    "Network": "networks",
    "RunRecord": "runs",
    "assign_parameters": "checkpoints",
    "compile_first_order": "rules",
    "fit": "loop",
    "load_data": "catalogue",
    "load_parameters": "checkpoints",
    "machine_record": "machine",
    "perceptron": "networks",
    "predict_update": "explanation.prediction",
    "read_run": "runs",
    "resume_run": "launching",
    "sliding_mean": "comparison_picture",
    "train_run": "launching",
}


def __getattr__(name: str) -> Any:
    """Import a name of the program."""
    if name not in _PROGRAM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.program.{_PROGRAM[name]}")
    except ImportError as error:
        raise SpecError(
            f'{name} cannot be imported ({error}): pip install "kfgn_graph[cli]".'
        ) from error
    return getattr(module, name)
