r"""The diagonal of the Gauss-Newton matrix, for parameters outside the layers.

The diagonal entries of :math:`\sum_n J_n^T H_n J_n` are :math:`\sum_{n,k} (J_n^T C_n^k)^2`, entry
by entry, for the columns C of a square root of :math:`H_n`. With independent random signs s,

.. math:: \Big(\sum_{n,k} s_{nk} J_n^T C_n^k\Big)^2

has this sum as its expectation, since the products of different columns cancel on average. One
backward pass for the whole batch gives the estimate for all such parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.gauss_newton import GaussNewton
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import DiagonalParameter, LayerGraph
from kfgn_graph.linalg.accumulation import marked
from kfgn_graph.linalg.random import Draws
from kfgn_graph.linalg.vectors import Values
from kfgn_graph.shared_values import value_shape

MOST_COLUMNS = 32
"""The number of columns of the exact square root up to which all of them are combined."""


@dataclass(frozen=True, eq=False)
class DiagonalBlock:
    r"""The diagonal of the Gauss-Newton block of one parameter.

    Attributes
    ----------
    values : TensorVariable
        The diagonal, of the parameter's shape, summed over the batch in the units of the loss.
    """

    values: TensorVariable

    def matmul(self, V: TensorVariable) -> TensorVariable:
        """Return the diagonal times V, of the parameter's shape."""
        return self.values * V

    def trace(self) -> TensorVariable:
        """Return the trace of the block."""
        return self.values.sum()

    def to_dense(self) -> TensorVariable:
        """Return the block as a square matrix over the flattened parameter: for small ones."""
        return pt.diag(self.values.reshape((-1,)))

    def solve(self, V: TensorVariable, gamma: TensorVariable | float) -> TensorVariable:
        r"""Return :math:`V / (d + \gamma^2)` for the diagonal d, of the parameter's shape."""
        shift = (pt.as_tensor(gamma) ** 2).astype(self.values.type.dtype)
        return V / (self.values + shift)


def estimated_diagonals(
    graph: LayerGraph, head: Head, draws: Draws | None, samples: int | None = None
) -> dict[DiagonalParameter, DiagonalBlock]:
    """Return an unbiased estimate of the diagonal of each parameter outside the layers.

    Parameters
    ----------
    graph : LayerGraph
        The network.
    head : Head
        The head of its loss.
    draws : Draws
        The source of the random signs.
    samples : int or None
        The number of random columns for each example, as in KFAC. None combines all columns of
        the exact square root if there are at most 32 of them, else draws one random column.

    Raises
    ------
    SpecError
        If there are such parameters, but no random numbers.
    """
    if not graph.diagonal:
        return {}
    if draws is None:
        raise SpecError("the diagonal is estimated from random numbers: pass `draws`.")
    parameters = [each.weight for each in graph.diagonal]
    pulled = GaussNewton(graph, head).pullback(_signed(head, draws, samples), parameters)
    return _named(graph, {p: g**2 for p, g in pulled.items()})


def _signed(head: Head, draws: Draws, samples: int | None) -> TensorVariable:
    """Return the sum of the columns at the output with random signs, of the shape of z."""
    known = isinstance(head.n_outputs, int) and head.n_outputs <= MOST_COLUMNS
    if samples is None and known:
        columns = head.square_root(0, head.n_outputs)
    else:
        columns = head.sampled(draws, samples or 1)
    examples = head.lengths()[: head.example_axes]
    signs = draws.signs([columns.shape[0], *examples], columns.type.dtype)
    event = head.output.type.ndim - head.example_axes
    signs = signs.dimshuffle(*range(1 + head.example_axes), *["x"] * event)
    return (signs * columns).sum(axis=0)


def exact_diagonals(graph: LayerGraph, head: Head) -> dict[DiagonalParameter, DiagonalBlock]:
    """Return the exact diagonal of each parameter outside the layers, for small networks.

    Every column of every example has a backward pass: the work is that of as many gradients as
    the whole batch has outputs.
    """
    if not graph.diagonal:
        return {}
    parameters, products = [each.weight for each in graph.diagonal], GaussNewton(graph, head)
    output, axes = head.output, head.example_axes
    count = pt.as_tensor(head.n_outputs)
    rows = output.size // count

    def step(number: TensorVariable, *totals: TensorVariable) -> list[TensorVariable]:
        """Add the squares that belong to one column of one example."""
        column = head.square_root(number // rows, 1)[0]
        row = pt.eq(pt.arange(rows), number % rows).astype(column.type.dtype)
        row = row.reshape((*(output.shape[k] for k in range(axes)), *[1] * (output.ndim - axes)))
        pulled = products.pullback(row * column, parameters)
        return [
            pt.specify_shape(total + pulled[p] ** 2, total.type.shape)
            for total, p in zip(totals, parameters, strict=True)
        ]

    sums = pytensor.scan(
        step,
        sequences=[pt.arange(rows * count)],
        outputs_info=[pt.zeros(value_shape(p), p.type.dtype) for p in parameters],
        return_updates=False,
        return_list=True,
    )
    return _named(graph, {p: total[-1] for p, total in zip(parameters, sums, strict=True)})


def _named(graph: LayerGraph, found: Values) -> dict[DiagonalParameter, DiagonalBlock]:
    blocks = {}
    for each in graph.diagonal:
        values = marked(pt.specify_shape(found[each.weight], each.weight.type.shape))
        values.name = f"{each.name}_diagonal"
        blocks[each] = DiagonalBlock(values)
    return blocks
