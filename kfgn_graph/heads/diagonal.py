"""Losses with a diagonal Hessian: sums of functions of one output each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.core import Head, rows
from kfgn_graph.layers.derivatives import grad
from kfgn_graph.linalg.matrices import diagonal, identity
from kfgn_graph.linalg.random import Draws


@dataclass(frozen=True, eq=False)
class DiagonalHead(Head):
    """A loss that is a sum of functions of one output each: H_r = diag(second derivatives)."""

    name = "elementwise"

    def second_derivatives(self) -> TensorVariable:
        """Return the second derivatives d^2 loss / dz^2, of z's shape."""
        return diagonal_hessian(self.loss, self.output)

    def weights(self) -> TensorVariable:
        """Return the second derivatives, of z's shape; negative ones count as zero."""
        return self.second_derivatives()

    def psd_weights(self) -> TensorVariable:
        """Return :meth:`weights` without negative ones."""
        return self.semidefinite(self.weights())

    def hessians(self) -> TensorVariable:
        return batched_diagonal(rows(self.second_derivatives(), self.example_axes))

    def psd_hessians(self) -> TensorVariable:
        return batched_diagonal(rows(self.psd_weights(), self.example_axes))

    def summed_hessian(self) -> TensorVariable:
        total = rows(self.psd_weights(), self.example_axes).sum(axis=0)
        return diagonal(total)

    def square_root(self, start: TensorVariable | int, count: int) -> TensorVariable:
        return self.basis(start, count) * pt.sqrt(self.psd_weights())[None]

    def coordinates(self, gradient: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        weights = self.psd_weights()
        curved, zero = pt.gt(weights, 0), np.asarray(0, gradient.type.dtype)
        root = pt.sqrt(pt.switch(curved, weights, np.asarray(1, weights.type.dtype)))
        rho = rows(pt.switch(curved, gradient / root, zero), self.example_axes)
        return rho.T, pt.switch(curved, zero, gradient)

    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        noise = self.noise(draws, [samples, *self.lengths()])
        divisor = np.sqrt(samples).astype(self.output.dtype)
        return noise * (pt.sqrt(self.psd_weights()) / divisor)[None]

    def curvature_times(self, direction: TensorVariable) -> TensorVariable:
        return self.psd_weights() * direction

    def noise(self, draws: Draws, shape: list[TensorVariable | int]) -> TensorVariable:
        """Return independent random numbers of mean 0 and variance 1: by default random signs."""
        return draws.signs(shape, self.output.type.dtype)


def batched_diagonal(d: TensorVariable) -> TensorVariable:
    """Return diag(d_r) for each row d_r: (R, K) to (R, K, K)."""
    return d[:, :, None] * identity(d.shape[1], d.type.dtype)[None]


def diagonal_hessian(loss: TensorVariable, z: TensorVariable) -> TensorVariable:
    """Return the diagonal of an elementwise loss's Hessian, of z's shape."""
    first = grad(loss, z)
    second = grad(first.sum(), z, disconnected_inputs="ignore")
    return second * pt.ones_like(z)
