"""KFRA: one expected matrix, carried from the output to every layer."""

from __future__ import annotations

from dataclasses import dataclass

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.methods.base import KroneckerMethod
from kfgn_graph.curvature.sweeps import (
    EXPECTED,
    PerLayer,
    sweep_joint,
)
from kfgn_graph.heads import Head
from kfgn_graph.jacobians.core import event_lengths
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.random import Draws


@dataclass(frozen=True)
class KFRA(KroneckerMethod):
    """Kronecker-Factored Recursive Approximation, Eq. (26): carries one expected matrix.

    Deterministic, at a cost that depends on the batch only through products of activations.
    """

    equations = "(21), (26)"

    def preactivation_factors(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> PerLayer:
        joint = sweep_joint(graph, head.summed_hessian(), EXPECTED)
        return {layer: self._shared(graph, layer, G) for layer, G in joint.items()}

    def _shared(self, graph: LayerGraph, layer: Layer, G: TensorVariable) -> TensorVariable:
        """Sum the curvature of the positions that share the layer's weight."""
        *positions, d = event_lengths(layer.preactivation, graph.example_axes[layer.preactivation])
        if not positions:
            return G
        split = G.reshape((-1, d, G.shape[0] // d, d))
        if self.sharing == "reduce":
            return split.sum(axis=(0, 2))
        return pt.diagonal(split, axis1=0, axis2=2).sum(axis=-1)
