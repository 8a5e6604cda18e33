"""KFAC: columns of a random square root, the gradients at sampled targets."""

from __future__ import annotations

from dataclasses import dataclass

from kfgn_graph.arguments import positive_count
from kfgn_graph.curvature.diagonal import DiagonalBlock, estimated_diagonals
from kfgn_graph.curvature.methods.base import KroneckerMethod
from kfgn_graph.curvature.sweeps import (
    PerLayer,
    PerUse,
    sweep_square_root,
)
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import DiagonalParameter, LayerGraph
from kfgn_graph.linalg.random import Draws


@dataclass(frozen=True)
class KFAC(KroneckerMethod):
    """Kronecker-Factored Approximate Curvature by sampling (Martens and Grosse 2015).

    The columns are gradients at targets drawn from the predictive distribution of the model. For
    a loss that defines no distribution, they are combinations of the columns of the square root
    of H_L with random signs.

    Parameters
    ----------
    samples : int
        The number of samples, hence of columns, for each example.
    """

    samples: int = 1

    random = True
    has_columns = True
    equations = "(21), (24)-(25) sampled"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_count("samples", self.samples)

    def preactivation_factors(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> PerLayer:
        return self.from_columns(self.columns(graph, head, draws))

    def diagonals(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[DiagonalParameter, DiagonalBlock]:
        return estimated_diagonals(graph, head, draws, self.samples)

    def columns(self, graph: LayerGraph, head: Head, draws: Draws | None) -> PerUse:
        if draws is None:
            raise SpecError("KFAC needs random numbers: pass `draws`.")
        return sweep_square_root(graph, head.sampled(draws, self.samples))
