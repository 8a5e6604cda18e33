r"""The factors of a lookup, a layer that reads one-hot rows.

Q is the mean of :math:`e e^T` over the one-hot rows e, which is diagonal. It is computed from the
index, by scattered additions, and kept as its diagonal.
"""

from __future__ import annotations

from math import prod

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.accumulation import marked


def lookup_factor(graph: LayerGraph, layer: Layer, sharing: str) -> TensorVariable:
    r"""Return the diagonal of Q of a lookup, of shape (d_in,).

    With 'expand' it is the share of the positions that read each row. With 'reduce' it is the
    mean over the examples of the squared share of an example's positions that read it; the
    entries of Q off the diagonal, which count pairs of rows in one example, are dropped.

    Parameters
    ----------
    graph : LayerGraph
        The network.
    layer : Layer
        A lookup.
    sharing : {'expand', 'reduce'}
        How the positions of one example are treated.
    """
    index, weights = _weighted_rows(graph, layer, sharing)
    rows = index.shape[0] if sharing == "reduce" else index.size
    total = _scattered(layer, index, weights)[:, 0]
    return total / rows.astype(total.type.dtype)


def lookup_corrected_eigenvalues(
    graph: LayerGraph, layer: Layer, sharing: str, C: TensorVariable, vectors: TensorVariable
) -> TensorVariable:
    r"""Return the diagonal of a lookup's Gauss-Newton block in the eigenbasis of G.

    :math:`s_{ij} = \sum_n \sum_k (e_n)_i^2 (v_j^T C_n^k)^2`, as in
    :func:`~kfgn_graph.curvature.kronecker.corrected_eigenvalues`, where Q is diagonal already.

    Parameters
    ----------
    graph, layer, sharing
        As of :func:`lookup_factor`.
    C : TensorVariable
        The columns of the square root at the pre-activation, of shape (K, rows, d_out).
    vectors : TensorVariable
        The eigenvectors of G, as columns, of shape (d_out, d_out).

    Returns
    -------
    TensorVariable
        s, of shape (d_in, d_out), summed over the batch in the units of the loss.
    """
    index, weights = _weighted_rows(graph, layer, sharing)
    squares = ((C @ vectors) ** 2).sum(axis=0)
    if sharing == "reduce":
        per_row = weights[:, :, None] * squares[:, None, :]
    else:
        per_row = squares.reshape((*weights.shape, squares.shape[1]))
    return marked(_scattered(layer, index, per_row))


def _weighted_rows(
    graph: LayerGraph, layer: Layer, sharing: str
) -> tuple[TensorVariable, TensorVariable]:
    """Return a lookup's index as (R, T), and the weight of each position in Q.

    With 'reduce' the input of an example is the mean of its one-hot rows; the square of its entry
    for a row that c of T positions read is (c / T)^2, hence c / T^2 for each of them.
    """
    index = layer.index
    assert index is not None  # the layer is a lookup
    axes = graph.example_axes[layer.preactivation]
    static = index.type.shape[axes:]
    positions = prod(static) if None not in static else None
    if positions is None:
        positions = pt.prod(pt.stack([index.shape[k] for k in range(axes, index.type.ndim)]))
    index, dtype = index.reshape((-1, positions)), layer.matrix.type.dtype
    if sharing != "reduce":
        return index, pt.ones_like(index, dtype=dtype)
    index = index.astype("int64") % layer.matrix.shape[0]
    same = pt.eq(index[:, :, None], index[:, None, :]).astype(dtype)
    return index, same.sum(axis=2) / pt.as_tensor(positions).astype(dtype) ** 2


def _scattered(layer: Layer, index: TensorVariable, values: TensorVariable) -> TensorVariable:
    """Return the sum of the values at the positions of each row of the table, (d_in, m).

    Parameters
    ----------
    layer : Layer
        The lookup.
    index : TensorVariable
        The row of each position, of shape (R, T).
    values : TensorVariable
        Of shape (R, T), or (R, T, m).
    """
    values = values if values.type.ndim == 3 else values[:, :, None]
    width = values.type.shape[2] or values.shape[2]
    zeros = pt.zeros((layer.shape[0], width), dtype=values.type.dtype)
    flat = values.reshape((-1, width))
    return pt.inc_subtensor(zeros[index.reshape((-1,))], flat)
