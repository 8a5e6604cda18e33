"""The entry point for curvature blocks: :func:`curvature_factors`."""

from __future__ import annotations

from kfgn_graph.curvature.kronecker import ExactBlock
from kfgn_graph.curvature.methods.base import KroneckerBlock, KroneckerMethod, Method
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import find_head
from kfgn_graph.layers.derivatives import defined_derivatives
from kfgn_graph.layers.graph import Layer, LayerGraph, check_graph
from kfgn_graph.linalg.random import Draws, self_advancing_counter


@defined_derivatives()
def curvature_factors(
    graph: LayerGraph, method: Method, draws: Draws | None = None
) -> dict[Layer, KroneckerBlock] | dict[Layer, ExactBlock]:
    """Return the curvature block of every layer of a graph, symbolically.

    Parameters
    ----------
    graph : LayerGraph
        From :func:`kfgn_graph.trace_layers`.
    method : Method
        ``KFRA()``, ``KFLR()``, ``KFAC()``, or ``Auto()`` for one of them; for small networks
        also ``BlockGaussNewton()`` or ``BlockHessian()``, whose blocks are exact.
    draws : Draws, optional
        The source of KFAC's random numbers. By default it has a shared counter, which every call
        of a compiled function advances.

    Returns
    -------
    dict
        For each layer a :class:`KroneckerFactors`, or a :class:`KroneckerSum` if its weight is
        read as W and as W^T and the method has ``tying='sum'``, or an :class:`ExactBlock` from an
        exact method, over the user's own inputs. The block is in the units of the data loss: it
        approximates the curvature of ``graph.data_loss``, without penalties.

    Raises
    ------
    SpecError
        If ``graph`` is no LayerGraph, or ``method`` no curvature method.
    CurvatureRuleNotFound
        If the method cannot propagate curvature through an Op of the network.
    """
    check_graph(graph)
    if not isinstance(method, Method):
        raise SpecError(f"method={method!r} is not a curvature method such as KFRA() or KFLR().")
    method = method.for_graph(graph)
    if method.random and draws is None:
        draws = Draws(self_advancing_counter())
    if isinstance(method, KroneckerMethod):
        return method.factors(graph, draws)
    return method.blocks(graph, find_head(graph), draws)
