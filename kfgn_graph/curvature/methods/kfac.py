"""KFAC: gradients at sampled targets, carried back as columns."""

from __future__ import annotations

from dataclasses import dataclass

from kfgn_graph.curvature.methods.base import KroneckerMethod
from kfgn_graph.curvature.sweeps import (
    PerLayer,
    sweep_square_root,
)
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.linalg.random import Draws


@dataclass(frozen=True)
class KFAC(KroneckerMethod):
    """Kronecker-Factored Approximate Curvature by sampling (Martens and Grosse 2015).

    Carries gradients at targets drawn from the model's own predictive distribution; for a
    loss that defines none, random +-1 combinations of the columns of H_L's root.

    Parameters
    ----------
    samples : int
        Draws for each example.
    """

    samples: int = 1

    random = True
    has_columns = True
    equations = "(21), (24)-(25) sampled"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise SpecError(f"samples={self.samples} must be at least 1.")

    def preactivation_factors(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> PerLayer:
        return self.from_columns(self.columns(graph, head, draws))

    def columns(self, graph: LayerGraph, head: Head, draws: Draws | None) -> PerLayer:
        if draws is None:
            raise SpecError("KFAC draws random numbers: give it a source of draws.")
        return sweep_square_root(graph, head.sampled(draws, self.samples))
