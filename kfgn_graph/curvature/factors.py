"""The curvature block of every layer of a graph."""

from __future__ import annotations

from kfgn_graph.curvature.kronecker import ExactBlock, KroneckerFactors
from kfgn_graph.curvature.methods.base import KroneckerMethod, Method
from kfgn_graph.heads import find_head
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.random import Draws, self_advancing_counter


def curvature_factors(
    graph: LayerGraph, method: Method, draws: Draws | None = None
) -> dict[Layer, KroneckerFactors] | dict[Layer, ExactBlock]:
    """Return the curvature block of every layer of a graph, symbolically.

    Parameters
    ----------
    graph : LayerGraph
        From :func:`kfgn_graph.trace_layers`.
    method : Method
        ``KFRA()``, ``KFLR()``, ``KFAC()``; ``BlockGaussNewton()`` and ``BlockHessian()`` give
        exact blocks, for small nets.
    draws : Draws, optional
        Where KFAC takes its random numbers from. By default a shared counter, which every
        call of a compiled function advances.

    Returns
    -------
    dict
        For each layer a :class:`KroneckerFactors` (for the exact methods an
        :class:`ExactBlock`), over the user's own inputs. The block approximates that of the
        loss itself, penalties apart.

    Raises
    ------
    CurvatureRuleNotFound
        If the method cannot carry curvature through an Op of the network.
    """
    if method.random and draws is None:
        draws = Draws(self_advancing_counter())
    if isinstance(method, KroneckerMethod):
        return method.factors(graph, draws)
    return method.blocks(graph, find_head(graph), draws)
