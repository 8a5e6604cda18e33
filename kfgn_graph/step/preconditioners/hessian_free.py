"""The preconditioner of Hessian-free optimisation: the exact system, solved iteratively."""

from __future__ import annotations

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.gauss_newton import GaussNewton
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.linalg.random import Draws
from kfgn_graph.linalg.vectors import Scalars, Values, dot
from kfgn_graph.shared_values import value_shape
from kfgn_graph.step.hessian_free import HessianFree
from kfgn_graph.step.preconditioners.base import Context, Preconditioner, register_preconditioner
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import zero_vector


@register_preconditioner(HessianFree)
class HessianFreePreconditioner(Preconditioner):
    """The solution of the damped Gauss-Newton system by conjugate gradients."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        graph, solution = context.graph, context.state.vector("solution")
        self._products = GaussNewton(graph, context.head)
        self._start = dict(zip(graph.parameters, solution, strict=True))
        self.mean_curvature = self._mean_eigenvalue()
        self.greatest_block = pt.constant(np.asarray(0, graph.loss.type.dtype))

    @classmethod
    def initial_state(cls, graph: LayerGraph, settings: Settings) -> dict[str, np.ndarray]:
        return zero_vector("solution", graph)

    @classmethod
    def summary(cls, settings: Settings) -> str:
        return f"system: {settings.method}; the factors below are not computed"

    @property
    def _method(self) -> HessianFree:
        method: HessianFree = self.context.settings.method  # type: ignore[assignment]
        return method

    def _mean_eigenvalue(self) -> TensorVariable:
        """Return an estimate of the mean eigenvalue: a random-sign vector's mean curvature."""
        graph = self.context.graph
        draws, dtype = Draws(pt.constant(np.uint32(0))), graph.loss.type.dtype
        signs = {p: draws.signs(value_shape(p), dtype) for p in graph.parameters}
        image = self._products.image(signs)
        size = sum(int(np.prod(value_shape(p))) for p in graph.parameters)
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
        """Return the parameters of each system that is solved independently."""
        graph = self.context.graph
        if not self._method.block:
            return [list(gradient)]
        layers = [
            [p for p in (layer.weight, layer.bias) if p is not None] for layer in graph.layers
        ]
        others = [*(each.weight for each in graph.diagonal), *graph.unmatched]
        return layers + [[p] for p in others if p in gradient]
