"""The choice among KFLR, KFRA and KFAC for a network."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from kfgn_graph.curvature.methods.base import KroneckerMethod, Method
from kfgn_graph.curvature.methods.kfac import KFAC
from kfgn_graph.curvature.methods.kflr import KFLR
from kfgn_graph.curvature.methods.kfra import KFRA
from kfgn_graph.curvature.sweeps import PerLayer
from kfgn_graph.errors import CurvatureRuleNotFound
from kfgn_graph.heads import Head, find_head
from kfgn_graph.layers.derivatives import defined_derivatives
from kfgn_graph.layers.graph import LayerGraph, preactivations
from kfgn_graph.linalg.random import Draws

FEW_OUTPUTS = 10
"""The number of outputs of an example up to which KFLR is chosen."""


@dataclass(frozen=True)
class Auto(KroneckerMethod):
    """The method that fits the network: KFLR, KFRA or KFAC, in this order.

    KFLR is exact in G and is chosen where an example has at most 10 outputs, since its cost grows
    with their number. KFRA is chosen where every Op between the layers and the output has a rule
    for the expected curvature, and KFAC elsewhere. ``Update.explain`` shows the choice.

    Parameters
    ----------
    sharing : {'expand', 'reduce'}
        As of :class:`KroneckerMethod`.
    tying : {'nearest', 'sum'}
        As of :class:`KroneckerMethod`.
    """

    def for_graph(self, graph: LayerGraph) -> Method:
        """Return the method that is chosen for a network."""
        return self.choice(graph)[0]

    def choice(self, graph: LayerGraph) -> tuple[KroneckerMethod, str]:
        """Return the method that is chosen for a network, and the reason."""
        count = outputs_of(graph)
        if count is not None and count <= FEW_OUTPUTS:
            return KFLR(self.sharing, tying=self.tying), f"{count} outputs, at most {FEW_OUTPUTS}"
        many = "outputs of unknown number" if count is None else f"{count:,} outputs"
        try:
            with defined_derivatives():
                KFRA(self.sharing).preactivation_factors(graph, find_head(graph), None)
        except CurvatureRuleNotFound as refused:
            reason = str(refused).split(": ", 1)[0]
            return KFAC(self.sharing, tying=self.tying), f"{many}; {reason}"
        return KFRA(self.sharing, tying=self.tying), f"{many}, and every Op has a rule"

    def preactivation_factors(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> PerLayer:
        return self.choice(graph)[0].preactivation_factors(graph, head, draws)


def outputs_of(graph: LayerGraph) -> int | None:
    """Return the number of outputs of an example, from the shapes that are known; else None."""
    z, axes = graph.output, graph.example_axes[graph.output]
    lengths = list(z.type.shape[axes:])
    sides = [side for side in graph.sides if z in preactivations([side])]
    last = next(iter(sides), None)
    if last is not None and lengths and lengths[-1] is None:
        lengths[-1] = last.shape[1]
    return None if None in lengths else prod(n for n in lengths if n is not None)
