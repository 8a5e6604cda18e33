r"""The exact Gauss-Newton quadratic model of the loss on the span of a few directions.

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

from kfgn_graph.curvature.gauss_newton import GaussNewton
from kfgn_graph.linalg.matrices import shifted_inverse
from kfgn_graph.linalg.vectors import Scalars, Values, dot, inner, total


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
        scaled = shifted_inverse(
            pt.stack([pt.stack(row) for row in cosines]), pt.constant(ridge)
        ) @ -pt.stack(slopes)
        # PyTensor multiplies by the numerator of a quotient first, which would leave the range of
        # the dtype long before the loss does. It moves no factor past a clip.
        greatest = np.asarray(np.finfo(dtype).max, dtype)
        return [pt.clip(scaled[i] / lengths[i], -greatest, greatest) for i in range(n)]

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
