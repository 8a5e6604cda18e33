"""The entry point for curvature blocks: :func:`curvature_factors`."""

from __future__ import annotations

from typing import Any

from pytensor.graph.basic import Variable

from kfgn_graph.curvature.diagonal import DiagonalBlock
from kfgn_graph.curvature.kronecker import ExactBlock
from kfgn_graph.curvature.methods.base import KroneckerBlock, KroneckerMethod, Method
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import find_head
from kfgn_graph.layers.derivatives import defined_derivatives
from kfgn_graph.layers.graph import DiagonalParameter, Layer, LayerGraph, check_graph
from kfgn_graph.linalg.random import Draws, self_advancing_counter
from kfgn_graph.printing import name_of


class LayerBlocks[Block](dict[Layer | DiagonalParameter, Block]):
    """Curvature blocks by layer, which are also found by a layer's name, weight or bias."""

    def __missing__(self, key: object) -> Block:
        if isinstance(key, str):
            found = [layer for layer in self if layer.name == key]
        else:
            found = [
                layer for layer in self if key is layer.weight or key is getattr(layer, "bias", 0)
            ]
        if len(found) != 1:
            wanted = name_of(key) if isinstance(key, Variable) else repr(key)
            problem = f"{len(found)} layers are" if found else "no layer is"
            there = ", ".join(f"{layer.name!r}" for layer in self)
            raise KeyError(f"{problem} known by {wanted}; the layers are {there}")
        return self[found[0]]


@defined_derivatives()
def curvature_factors(
    graph: LayerGraph, method: Method, draws: Draws | None = None
) -> LayerBlocks[KroneckerBlock | ExactBlock | DiagonalBlock]:
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
    LayerBlocks
        A dictionary: for each layer a :class:`KroneckerFactors`, or a :class:`KroneckerSum` if its
        weight is read as W and as W^T and the method has ``tying='sum'``, or an
        :class:`ExactBlock` from an exact method, over the user's own inputs. For each parameter in
        ``graph.diagonal`` a :class:`DiagonalBlock`: an unbiased estimate, or the exact diagonal
        from an exact method. The block is in the units of the data loss: it approximates the
        curvature of ``graph.data_loss``, without penalties. A block is also found by the layer's
        name, its weight or its bias: ``factors["W0"]``.

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
    if (method.random or graph.diagonal) and draws is None:
        draws = Draws(self_advancing_counter())
    head = find_head(graph)
    if isinstance(method, KroneckerMethod):
        blocks: dict[Any, Any] = {**method.factors(graph, draws, head)}
    else:
        blocks = {**method.blocks(graph, head, draws)}
    return LayerBlocks(blocks | method.diagonals(graph, head, draws))
