"""The proposal of Hessian-free optimisation."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.gauss_newton import GaussNewton
from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import LayerGraph, value_shape
from kfgn_graph.linalg.random import Draws
from kfgn_graph.linalg.vectors import Scalars, Values, dot
from kfgn_graph.step.hessian_free import HessianFree
from kfgn_graph.step.preconditioners.base import Proposal
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import State


class HessianFreeProposal(Proposal):
    """The solution of the damped Gauss-Newton system by conjugate gradients."""

    def __init__(
        self,
        graph: LayerGraph,
        head: Head,
        settings: Settings,
        state: State,
        count: TensorVariable,
        sound: TensorVariable,
    ) -> None:
        self.graph, self.kept, self.learnt, self.sound = graph, {}, {}, sound
        assert isinstance(settings.method, HessianFree)
        self._method = settings.method
        self._products = GaussNewton(graph, head)
        self._start = dict(zip(graph.parameters, state.vector("solution"), strict=True))
        self.mean_curvature = self._mean_eigenvalue()
        self.greatest_block = pt.constant(np.asarray(0, graph.loss.type.dtype))

    def _mean_eigenvalue(self) -> TensorVariable:
        """Return an estimate of the mean eigenvalue: a random-sign vector's mean curvature."""
        draws, dtype = Draws(pt.constant(np.uint32(0))), self.graph.loss.type.dtype
        signs = {p: draws.signs(value_shape(p), dtype) for p in self.graph.parameters}
        image = self._products.image(signs)
        size = sum(int(np.prod(value_shape(p))) for p in self.graph.parameters)
        return dot(image, self._products.curvature(image)) / np.asarray(size, dtype)

    def direction(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        solution: Values = {}
        for parameters in self._systems(gradient):
            part = {p: gradient[p] for p in parameters}
            start = {p: self._start[p] for p in parameters}
            solution |= self._method.solve(self._products, part, start, shifts)
        self.kept = {self._start[p]: v for p, v in solution.items()}
        return solution

    def _systems(self, gradient: Values) -> list[list[TensorVariable]]:
        """Return the parameters of each system that is solved by itself."""
        if not self._method.block:
            return [list(gradient)]
        layers = [
            [p for p in (layer.weight, layer.bias) if p is not None] for layer in self.graph.layers
        ]
        return layers + [[p] for p in self.graph.unmatched if p in gradient]
