"""The exact Gauss-Newton and Hessian blocks of every layer, for small networks."""

from __future__ import annotations

from dataclasses import dataclass

from kfgn_graph import equations
from kfgn_graph.curvature.kronecker import ExactBlock
from kfgn_graph.curvature.methods.base import Method, positions_of
from kfgn_graph.curvature.sweeps import (
    PerLayer,
    output_gradients,
    per_example_algebra,
    sweep_joint,
)
from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.accumulation import marked
from kfgn_graph.linalg.random import Draws


@dataclass(frozen=True)
class BlockGaussNewton(Method):
    """The exact Gauss-Newton block of every layer, Eq. (14)-(18) and (22), for small networks."""

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, ExactBlock]:
        curvature = sweep_joint(graph, head.psd_hessians(), per_example_algebra(None))
        return _exact_blocks(graph, curvature)


@dataclass(frozen=True)
class BlockHessian(Method):
    """The exact Hessian block of every layer, Eq. (7)-(10) with D, for small networks."""

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, ExactBlock]:
        algebra = per_example_algebra(output_gradients(graph))
        return _exact_blocks(graph, sweep_joint(graph, head.hessians(), algebra))


def _exact_blocks(graph: LayerGraph, curvature: PerLayer) -> dict[Layer, ExactBlock]:
    blocks = {}
    for layer, G in curvature.items():
        a = positions_of(graph, layer)
        inputs = equations.with_unit(a) if layer.bias is not None else a
        d = layer.matrix.shape[1]
        shape = (G.shape[0], a.shape[1], d, a.shape[1], d)
        blocks[layer] = ExactBlock(inputs, marked(G.reshape(shape)))
    return blocks
