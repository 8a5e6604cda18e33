"""KFRA: one expected matrix, propagated from the output to every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.methods.base import KroneckerMethod
from kfgn_graph.curvature.sweeps import (
    EXPECTED,
    PerLayer,
    sweep_joint,
)
from kfgn_graph.errors import CurvatureRuleNotFound
from kfgn_graph.heads import Head
from kfgn_graph.jacobians.core import event_lengths
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.random import Draws
from kfgn_graph.linalg.vectors import total


@dataclass(frozen=True)
class KFRA(KroneckerMethod):
    """Kronecker-Factored Recursive Approximation, Eq. (26): propagates one expected matrix.

    The method is deterministic. The matrix has no example axis, so that the batch size enters the
    cost only through products of activations.
    """

    equations = "(21), (26)"

    def preactivation_factors(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> PerLayer:
        joint = sweep_joint(graph, head.summed_hessian(), EXPECTED)
        return {side: self._of_uses(graph, side, found) for side, found in joint.items()}

    def _of_uses(
        self, graph: LayerGraph, layer: Layer, found: Sequence[TensorVariable]
    ) -> TensorVariable:
        """Return the sum of the curvature of the affine maps that read the layer's weight."""
        if len(found) > 1 and self.sharing == "reduce":
            raise CurvatureRuleNotFound(
                f"KFRA(sharing='reduce') needs the curvature between the {len(found)} affine maps "
                f"that read the weight of layer {layer.name}, which it does not propagate: use "
                "sharing='expand', KFLR or KFAC."
            )
        uses = zip(layer.uses, found, strict=True)
        return total([self._shared(graph, use.preactivation, G) for use, G in uses])

    def _shared(self, graph: LayerGraph, h: TensorVariable, G: TensorVariable) -> TensorVariable:
        """Return the sum of the curvature of the positions of one pre-activation."""
        *positions, d = event_lengths(h, graph.example_axes[h])
        if not positions:
            return G
        split = G.reshape((-1, d, G.shape[0] // d, d))
        if self.sharing == "reduce":
            return split.sum(axis=(0, 2))
        return pt.diagonal(split, axis1=0, axis2=2).sum(axis=-1)
