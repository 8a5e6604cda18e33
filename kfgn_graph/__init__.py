"""Practical Gauss-Newton optimisation, compiled from ordinary PyTensor graphs."""

from kfgn_graph.kronecker import ExactBlock, KroneckerFactors, kronecker_solve
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.methods import KFAC, KFLR, KFRA, BlockGaussNewton, BlockHessian, curvature_factors
from kfgn_graph.tracing import trace_layers
