"""The head of all other losses, whose Hessian is computed by automatic differentiation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.ops import deep_copy_op
from pytensor.graph.replace import vectorize_graph
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.core import Head, rows
from kfgn_graph.layers.derivatives import grad
from kfgn_graph.linalg.random import Draws


@dataclass(frozen=True, eq=False)
class GenericHead(Head):
    """A loss without a closed form: H_r by automatic differentiation, in K products with it."""

    name = "generic"

    def hessians(self) -> TensorVariable:
        z = self.output
        direction = z.type("direction")
        product = grad((grad(self.loss, z) * direction).sum(), z, disconnected_inputs="ignore")
        unit = self.basis(0, self.n_outputs) * pt.ones_like(z)[None]
        # The product is constant where the loss is piecewise linear.
        stacked = vectorize_graph(product + pt.zeros_like(direction), {direction: unit})
        flat = stacked.reshape((unit.shape[0], -1, self.n_outputs))
        return flat.dimshuffle(1, 0, 2)

    def _eigen(self) -> tuple[TensorVariable, TensorVariable]:
        """Return the eigenvalues of H_r, none of them negative, and its eigenvectors."""
        h = self.hessians()
        found = pt.linalg.eigh((h + h.dimshuffle(0, 2, 1)) / np.asarray(2, h.dtype))
        # Copies work around PyTensor 3.3: its rewrite of slices of an Op's output fails on a
        # batched Op with several outputs.
        values, vectors = map(deep_copy_op, found)
        return self.semidefinite(values), vectors

    def psd_hessians(self) -> TensorVariable:
        values, vectors = self._eigen()
        return (vectors * values[:, None, :]) @ vectors.dimshuffle(0, 2, 1)

    def summed_hessian(self) -> TensorVariable:
        return self.psd_hessians().sum(axis=0)

    def _columns(self) -> TensorVariable:
        """Return all K columns of the square root, of shape (K, R, K)."""
        values, vectors = self._eigen()
        return (vectors * pt.sqrt(values)[:, None, :]).dimshuffle(2, 0, 1)

    def square_root(self, start: TensorVariable | int, count: int) -> TensorVariable:
        columns = self._columns()
        padding = pt.zeros((count, columns.shape[1], columns.shape[2]), dtype=columns.dtype)
        padded = pt.concatenate([columns, padding], axis=0)
        return padded[start + pt.arange(count)].reshape((count, *self.lengths()))

    def coordinates(self, gradient: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        values, vectors = self._eigen()
        turned = (vectors.mT @ rows(gradient, self.example_axes)[:, :, None])[:, :, 0]
        zero, one = (np.asarray(n, turned.type.dtype) for n in (0, 1))
        curved = pt.gt(values, 0)
        rho = pt.switch(curved, turned / pt.sqrt(pt.switch(curved, values, one)), zero)
        outside = (vectors @ pt.switch(curved, zero, turned)[:, :, None])[:, :, 0]
        return rho.T, outside.reshape(tuple(self.lengths()))

    def curvature_times(self, direction: TensorVariable) -> TensorVariable:
        product = self.psd_hessians() @ rows(direction, self.example_axes)[:, :, None]
        return product.reshape(tuple(self.lengths()))

    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        columns = self._columns()
        n_rows = rows(self.output, self.example_axes).shape[0]
        dtype = self.output.type.dtype
        signs = draws.signs([samples, n_rows, 1, self.n_outputs], dtype)
        mixed = (signs @ columns.dimshuffle(1, 0, 2)[None]) / np.sqrt(samples).astype(dtype)
        return mixed.reshape((samples, *self.lengths()))
