"""KFLR: columns of the exact square root of the output Hessian."""

from __future__ import annotations

from dataclasses import dataclass

import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.methods.base import KroneckerMethod
from kfgn_graph.curvature.sweeps import (
    PerLayer,
    PerUse,
    sweep_square_root,
)
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.random import Draws

#: The number of columns in a chunk if ``chunk_size`` is None.
DEFAULT_CHUNK = 32


@dataclass(frozen=True)
class KFLR(KroneckerMethod):
    """Kronecker-Factored Low Rank, Eq. (23)-(25): propagates the exact square root.

    Parameters
    ----------
    chunk_size : int, optional
        The number of columns that are propagated at once, which limits memory to as many copies
        of the activations. By default all K columns, or 32 if K is larger or unknown.
    """

    chunk_size: int | None = None

    has_columns = True
    equations = "(21), (23)-(25)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk_size is not None and self.chunk_size < 1:
            raise SpecError(f"chunk_size={self.chunk_size} must be at least 1.")

    def preactivation_factors(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> PerLayer:
        n_columns = head.n_outputs
        if isinstance(n_columns, int) and n_columns <= (self.chunk_size or DEFAULT_CHUNK):
            return self._chunk(graph, head, 0, n_columns)
        chunk = self.chunk_size or DEFAULT_CHUNK

        def step(start: TensorVariable, *totals: TensorVariable) -> list[TensorVariable]:
            partial = self._chunk(graph, head, start, chunk)
            return [
                pt.specify_shape(total + G, total.type.shape)
                for total, G in zip(totals, partial.values(), strict=True)
            ]

        zeros = [_zero_factor(side) for side in graph.sides]
        sums = pytensor.scan(
            step,
            sequences=[pt.arange(0, n_columns, chunk)],
            outputs_info=zeros,
            return_updates=False,
            return_list=True,
        )
        return {side: total[-1] for side, total in zip(graph.sides, sums, strict=True)}

    def columns(self, graph: LayerGraph, head: Head, draws: Draws | None) -> PerUse:
        n_columns = head.n_outputs
        if not isinstance(n_columns, int):
            raise SpecError(
                "KFLR cannot propagate all columns at once, since their number is unknown: give "
                "the network's output a static width."
            )
        return sweep_square_root(graph, head.square_root(0, n_columns))

    def _chunk(
        self, graph: LayerGraph, head: Head, start: TensorVariable | int, count: int
    ) -> PerLayer:
        return self.from_columns(sweep_square_root(graph, head.square_root(start, count)))


def _zero_factor(layer: Layer) -> TensorVariable:
    """Return zeros of a factor's shape, static if any variable of the layer declares it.

    A loop needs the same static shape before and after each step.
    """
    variables = [v for v in (layer.matrix, layer.preactivation, layer.bias) if v is not None]
    declared = [v.type.shape[-1] for v in variables if v.type.ndim > 0]
    d = next((n for n in declared if n is not None), layer.matrix.shape[1])
    return pt.zeros((d, d), dtype=layer.matrix.type.dtype)
