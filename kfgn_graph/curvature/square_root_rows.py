r"""The rows of :math:`S = C^T J`, a square root of the Gauss-Newton matrix S^T S.

A row belongs to an example r and a column k of the square root of the loss's Hessian. Its part in
a layer is :math:`\sum_t a_{rt} \otimes c_{krt}`, with the inputs a of the layer, the columns c at
its pre-activation, and T positions t that share the weight. Products with S and the Gram matrix
:math:`S S^T` follow from a and c, and the rows themselves are formed only where that is cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.curvature.methods.base import positions_of
from kfgn_graph.jacobians.core import event_lengths, product
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.accumulation import marked

#: The ways to compute a layer's part of the Gram matrix; see :func:`gram_by`.
INPUTS_AND_COLUMNS, COLUMNS, ROWS = "inputs and columns", "columns", "rows"


def gram_by(graph: LayerGraph, layer: Layer) -> str:
    """Return the way in which a layer's part of the Gram matrix is computed.

    Two rows have the inner product of their inputs times the inner product of their columns,
    summed over all pairs of positions. For copies of a parameter, whose input is 1, it is the
    inner product of the columns. Where pairs of positions outnumber the inputs of the layer, it
    takes less work to form the rows, of d_in d_out entries each. They are also formed for a
    weight that is read as W and as W^T.
    """
    if layer.copies:
        return COLUMNS
    (d_in, _), count = layer.shape, _positions(graph, layer)
    cheap = count is not None and count**2 <= d_in + (layer.bias is not None)
    single = count == 1 or cheap
    return INPUTS_AND_COLUMNS if single and layer.reverse is None else ROWS


def _positions(graph: LayerGraph, layer: Layer) -> int | None:
    """Return the number of positions that share the weight; None if it is unknown."""
    total = 0
    for use in layer.uses:
        h = use.preactivation
        count = product(event_lengths(h, graph.example_axes[h])[:-1])
        if not isinstance(count, int):
            return None
        total += count
    return total


@dataclass(frozen=True, eq=False)
class SideRows:
    """The part of the rows of S that the affine maps of one side of a layer contribute.

    Attributes
    ----------
    graph : LayerGraph
        The network.
    side : Layer
        A layer, or its ``reverse``.
    columns : sequence of TensorVariable
        The columns of the square root at each pre-activation, of shape (K, R, *event).
    """

    graph: LayerGraph
    side: Layer
    columns: Sequence[TensorVariable]

    @cached_property
    def inputs(self) -> TensorVariable:
        """a, of shape (R, T, d_in[+1]): a unit is appended for a bias."""
        a = positions_of(self.graph, self.side)
        return a if self.side.bias is None else equations.with_unit(a)

    @cached_property
    def positioned(self) -> TensorVariable:
        """c, of shape (K, R, T, d_out)."""
        parts = [
            C.reshape((C.shape[0], C.shape[1], -1, C.shape[C.type.ndim - 1])) for C in self.columns
        ]
        return parts[0] if len(parts) == 1 else pt.concatenate(parts, axis=2)

    def formed(self) -> TensorVariable:
        """Return the rows, of shape (K, R, d_in[+1], d_out)."""
        return self.inputs.dimshuffle("x", 0, 2, 1) @ self.positioned

    def times(self, V: TensorVariable) -> TensorVariable:
        """Return the product of the rows with V, (d_in[+1], d_out), of shape (K, R)."""
        return (self.positioned * (self.inputs @ V)[None]).sum(axis=(2, 3))

    def transposed_times(self, y: TensorVariable) -> TensorVariable:
        """Return the product of the transpose with y, (K, R), of shape (d_in[+1], d_out)."""
        weighted = (self.positioned * y[:, :, None, None]).sum(axis=0)
        d_in, d_out = self.inputs.shape[2], weighted.shape[2]
        return self.inputs.reshape((-1, d_in)).T @ weighted.reshape((-1, d_out))

    def gram_of_columns(self) -> TensorVariable:
        """Return the inner products of the columns, of shape (K R, K R)."""
        c = self.positioned
        return _gram(c.reshape((c.shape[0] * c.shape[1], c.shape[2] * c.shape[3])))

    def gram_of_positions(self) -> TensorVariable:
        """Return the inner products of the rows, by those of inputs and columns."""
        c, a, one = self.positioned, self.inputs, _positions(self.graph, self.side) == 1
        K, R, T = c.shape[0], c.shape[1], 1 if one else c.shape[2]
        by_columns = _gram(c.reshape((K * R * T, -1))).reshape((K, R, T, K, R, T))
        by_inputs = _gram(a.reshape((R * T, -1))).reshape((1, R, T, 1, R, T))
        if one:
            return (by_columns * by_inputs).reshape((K * R, K * R))
        return (by_columns * by_inputs).sum(axis=(2, 5)).reshape((K * R, K * R))


@dataclass(frozen=True, eq=False)
class LayerRows:
    """The part of the rows of S that belongs to one layer.

    Attributes
    ----------
    graph : LayerGraph
        The network.
    layer : Layer
        The layer.
    columns : mapping
        The columns of the square root at each pre-activation of each side of the layer.
    """

    graph: LayerGraph
    layer: Layer
    columns: Mapping[Layer, Sequence[TensorVariable]]

    @cached_property
    def _direct(self) -> SideRows:
        return SideRows(self.graph, self.layer, self.columns[self.layer])

    @cached_property
    def _reverse(self) -> SideRows | None:
        reverse = self.layer.reverse
        return None if reverse is None else SideRows(self.graph, reverse, self.columns[reverse])

    def gram(self) -> TensorVariable:
        """Return the layer's part of S S^T, of shape (K R, K R), with r the faster index."""
        way = gram_by(self.graph, self.layer)
        if way == COLUMNS:
            return self._direct.gram_of_columns()
        if way == INPUTS_AND_COLUMNS:
            return self._direct.gram_of_positions()
        rows = self._direct.formed()
        if self._reverse is not None:
            rows = rows + self._over_bias(self._reverse.formed().mT)
        return _gram(rows.reshape((rows.shape[0] * rows.shape[1], -1)))

    def times(self, V: TensorVariable) -> TensorVariable:
        """Return the product of the rows with V, (d_in[+1], d_out), of shape (K, R)."""
        product = self._direct.times(V)
        if self._reverse is None:
            return product
        return product + self._reverse.times(V[: self.layer.shape[0]].T)

    def transposed_times(self, y: TensorVariable) -> TensorVariable:
        """Return the product of the transpose with y, (K, R), of shape (d_in[+1], d_out)."""
        product = self._direct.transposed_times(y)
        if self._reverse is None:
            return product
        return product + self._over_bias(self._reverse.transposed_times(y).T)

    def _over_bias(self, V: TensorVariable) -> TensorVariable:
        """Append a row of zeros for a bias: (..., d_in, d_out) to (..., d_in[+1], d_out)."""
        if self.layer.bias is None:
            return V
        return pt.concatenate([V, pt.zeros_like(V[..., :1, :])], axis=-2)


def _gram(X: TensorVariable) -> TensorVariable:
    return marked(X @ X.T)
