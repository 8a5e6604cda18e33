r"""How far to go: the exact Gauss-Newton quadratic model of the loss along a few directions.

:math:`M(\delta) = h(\theta) + \nabla h^T \delta
+ \frac{1}{2} \delta^T (\bar G + (\lambda + \eta) I) \delta` on the current batch, with the exact
Gauss-Newton matrix of the whole network (Martens and Grosse 2015, sections 6.4 and 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.step.damping import positive_count
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.linalg.matrices import shifted_inverse
from kfgn_graph.curvature.gauss_newton import GaussNewton
from kfgn_graph.linalg.vectors import Scalars, Values, dot, inner, total


@dataclass(frozen=True)
class Rescaling:
    r"""Step lengths from the quadratic model, :math:`\delta = \alpha \Delta + \mu \delta_0`.

    Parameters
    ----------
    momentum : bool
        Whether the previous update :math:`\delta_0` is a direction beside the preconditioned
        gradient :math:`\Delta`; else :math:`\mu = 0`. :math:`\mu` is kept within 0 and 1: beyond,
        the model uses :math:`\delta_0` to fit the batch, and the updates grow from one to the
        next.
    groups : int
        Into how many groups of consecutive layers :math:`\Delta` is divided, each with a step
        length of its own (at most as many as there are layers). Early and late layers differ
        in how far they can go.
    reject_below : float, optional
        An update whose reduction ratio on its own batch is below this is not taken: all stays
        as it was, but what was learnt of the curvature and lambda, which is raised. None takes
        every update, and so does a constant damping, which could not be raised.
    watch : int, optional
        The ratio costs a forward pass. It is measured where lambda adapts, and besides, until the
        model is trusted, at each of so many updates from the start and from every one that is
        rejected or has a ratio that is not above the damping rule's ``upper``; and where the
        update is longer than 1.5 times the last. None measures it at every update: choose it for
        a loss that is not finite everywhere.
    examples : int, optional
        The model's curvature is that of so many examples at the batch's beginning at most, which
        saves most of its cost for large batches and presumes that examples come in random order;
        its gradient is that of all. None takes all, as does a graph that holds the batch itself
        as constant data.
    """

    momentum: bool = True
    groups: int = 2
    reject_below: float | None = 0.25
    watch: int | None = 50
    examples: int | None = 250

    def __post_init__(self) -> None:
        positive_count("groups", self.groups)
        if self.watch is not None:
            positive_count("watch", self.watch)
        if self.examples is not None:
            positive_count("examples", self.examples)

    def directions(self, graph: LayerGraph, proposed: Values, previous: Values) -> list[Values]:
        """Return the directions of the model: the proposal by groups, then the last update."""
        layers = graph.layers
        n = min(self.groups, len(layers))
        group_of = {
            p: i * n // len(layers)
            for i, layer in enumerate(layers)
            for p in (layer.weight, layer.bias)
            if p is not None
        }
        groups = [
            {p: v for p, v in proposed.items() if group_of.get(p, n - 1) == k} for k in range(n)
        ]
        return groups + ([{p: previous[p] for p in proposed}] if self.momentum else [])

    def lengths(self, model: QuadraticModel) -> list[TensorVariable]:
        """Return how far to go along each of the directions."""
        return model.minimiser_with_momentum() if self.momentum else model.minimiser()


@dataclass(frozen=True, eq=False)
class QuadraticModel:
    """The model on the span of directions, as numbers.

    Attributes
    ----------
    slopes : list of scalars
        The gradient's products with the directions.
    curvatures : list of lists of scalars
        The directions' products in the damped Gauss-Newton matrix.
    """

    slopes: list[TensorVariable]
    curvatures: list[list[TensorVariable]]

    def change(self, coefficients: Sequence[TensorVariable]) -> TensorVariable:
        """Return M(delta) - M(0) of the directions times coefficients."""
        linear = [b * c for b, c in zip(self.slopes, coefficients, strict=True)]
        square = [
            k * c * d
            for row, c in zip(self.curvatures, coefficients, strict=True)
            for k, d in zip(row, coefficients, strict=True)
        ]
        return total(linear) + total(square) / np.asarray(2, linear[0].type.dtype)

    def minimiser(self) -> list[TensorVariable]:
        """Return the coefficients of the lowest point, 0 for a direction that is zero.

        Directions are first scaled to unit curvature; a ridge of the dtype's precision makes
        parallel ones share their coefficient.
        """
        dtype, n = self.slopes[0].type.dtype, len(self.slopes)
        one, zero = np.asarray(1, dtype), np.asarray(0, dtype)
        usable = [pt.gt(row[i], 0) for i, row in enumerate(self.curvatures)]
        lengths = [
            pt.switch(u, pt.sqrt(row[i]), one)
            for i, (u, row) in enumerate(zip(usable, self.curvatures, strict=True))
        ]
        slopes = [
            pt.switch(u, b / s, zero) for u, b, s in zip(usable, self.slopes, lengths, strict=True)
        ]
        ridge = np.asarray(10 * n * np.finfo(dtype).eps, dtype)
        cosines = [
            [one if i == j else k / lengths[i] / lengths[j] for j, k in enumerate(row)]
            for i, row in enumerate(self.curvatures)
        ]
        matrix = pt.stack([pt.stack(row) for row in cosines])
        scaled = shifted_inverse(matrix, pt.constant(ridge)) @ -pt.stack(slopes)
        return [scaled[i] / lengths[i] for i in range(n)]

    def minimiser_with_momentum(self) -> list[TensorVariable]:
        """Return the coefficients of the lowest point whose last one lies within 0 and 1."""
        momentum = pt.clip(self.minimiser()[-1], 0, 1)
        slopes = [
            b + momentum * row[-1]
            for b, row in zip(self.slopes[:-1], self.curvatures[:-1], strict=True)
        ]
        others = QuadraticModel(slopes, [row[:-1] for row in self.curvatures[:-1]])
        return [*others.minimiser(), momentum]


def quadratic_model(
    products: GaussNewton, gradient: Values, directions: Sequence[Values], shifts: Scalars
) -> QuadraticModel:
    r"""Return the model on the span of directions.

    Parameters
    ----------
    products : GaussNewton
        Of the network, on the current batch or a part of it.
    gradient : Values
        :math:`\nabla h`.
    directions : sequence of Values
        Disjoint ones, as those of groups of layers, have no product of their own.
    shifts : Scalars
        :math:`\lambda + \eta` of each parameter.
    """
    n = len(directions)
    images = [products.image(d) for d in directions]
    curved = [products.curvature(u) for u in images]
    upper = {
        (i, j): dot(images[i], curved[j]) + inner(directions[i], directions[j], shifts)
        for i in range(n)
        for j in range(i, n)
    }
    rows = [[upper[min(i, j), max(i, j)] for j in range(n)] for i in range(n)]
    return QuadraticModel([inner(gradient, d) for d in directions], rows)
