r"""Hessian-free optimisation: the exact Gauss-Newton system, solved by conjugate gradients.

Martens, "Deep learning via Hessian-free optimization", ICML 2010.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kfgn_graph.arguments import positive, positive_count, real, switch
from kfgn_graph.curvature.gauss_newton import GaussNewton
from kfgn_graph.curvature.kronecker import ExactBlock
from kfgn_graph.curvature.methods.base import KroneckerBlock, Method
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.random import Draws
from kfgn_graph.linalg.vectors import Scalars, Values
from kfgn_graph.step.conjugate_gradients import conjugate_gradients


@dataclass(frozen=True)
class HessianFree(Method):
    r"""Solve :math:`(\bar G + (\lambda + \eta) I)\,\delta = -\nabla h` by conjugate gradients.

    Parameters
    ----------
    iterations : int
        Maximum number of iterations per update.
    tolerance : float
        The iterations stop at iteration i when the last :math:`k = \max(10, i / 10)` of them
        lowered the quadratic model by less than k times this share of its value.
    start_decay : float
        The first iterate is the last update's solution times this; 0 starts from zero.
    preconditioned : bool
        Precondition with :math:`(\mathrm{diag}(g g^T) + \lambda + \eta)^{3/4}`, where g is the
        batch's gradient.
    block : bool
        Solve each layer's own block of :math:`\bar G` instead of the whole, layer by layer: the
        exact update that Kronecker-factored blocks approximate.
    """

    iterations: int = 100
    tolerance: float = 5e-4
    start_decay: float = 0.95
    preconditioned: bool = False
    block: bool = False

    equations = "(12)-(13)"

    def __post_init__(self) -> None:
        positive_count("iterations", self.iterations)
        positive("tolerance", self.tolerance)
        switch("preconditioned", self.preconditioned)
        switch("block", self.block)
        if not 0 <= real("start_decay", self.start_decay, "in [0, 1]") <= 1:
            raise SpecError(f"start_decay={self.start_decay} must be in [0, 1].")

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, KroneckerBlock] | dict[Layer, ExactBlock]:
        raise SpecError(
            "HessianFree() forms no blocks, only products with the whole matrix: use "
            "BlockGaussNewton() for the exact blocks, or gauss_newton_product for products."
        )

    def solve(
        self, products: GaussNewton, gradient: Values, start: Values, shifts: Scalars
    ) -> Values:
        r"""Return :math:`\delta` over the parameters of ``gradient``."""
        power = np.asarray(0.75, next(iter(gradient.values())).type.dtype)
        divisor = (
            {p: (g**2 + shifts[p]) ** power for p, g in gradient.items()}
            if self.preconditioned
            else None
        )

        def damped_product(v: Values) -> Values:
            product = products.product(v)
            return {p: product[p] + shifts[p] * v[p] for p in v}

        decay = np.asarray(self.start_decay, power.dtype)
        return conjugate_gradients(
            damped_product,
            {p: -g for p, g in gradient.items()},
            {p: decay * s for p, s in start.items()},
            self.iterations,
            self.tolerance,
            divisor,
        )
