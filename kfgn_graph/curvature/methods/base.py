"""The interfaces of the curvature methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.curvature.kronecker import ExactBlock, KroneckerFactors
from kfgn_graph.curvature.sweeps import (
    PerLayer,
)
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import Head, find_head
from kfgn_graph.jacobians.core import event_lengths
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.accumulation import marked
from kfgn_graph.linalg.matrices import is_diagonal
from kfgn_graph.linalg.random import Draws

Sharing = Literal["expand", "reduce"]


class Method(ABC):
    """A curvature approximation.

    A subclass of :class:`KroneckerMethod` trains as it is. Any other method needs a
    preconditioner for training: :func:`kfgn_graph.extend.register_preconditioner`.
    """

    #: Whether the method draws random numbers.
    random: ClassVar[bool] = False
    #: Whether its blocks are Kronecker-factored, so that gamma damps their factors.
    factored: ClassVar[bool] = False
    #: Whether it carries columns of a square root, which :meth:`KroneckerMethod.columns` returns.
    has_columns: ClassVar[bool] = False
    #: The equations of the paper that it implements.
    equations: ClassVar[str] = "-"

    def for_graph(self, graph: LayerGraph) -> Method:
        """Return the method for a network: this one, unless the choice is left to the network."""
        return self

    @abstractmethod
    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, KroneckerFactors] | dict[Layer, ExactBlock]:
        """Return the curvature block of every layer."""


@dataclass(frozen=True)
class KroneckerMethod(Method):
    """A method whose blocks are Kronecker-factored, Eq. (20).

    Parameters
    ----------
    sharing : {'expand', 'reduce'}
        The treatment of a weight that is used at several positions of one example. 'expand'
        counts each position as an example. 'reduce' first averages the inputs and sums the
        curvature over the positions (Eschenhagen et al. 2023).
    """

    sharing: Sharing = "expand"

    factored = True

    def __post_init__(self) -> None:
        if self.sharing not in ("expand", "reduce"):
            raise SpecError(f"sharing={self.sharing!r} must be 'expand' or 'reduce'.")

    @abstractmethod
    def preactivation_factors(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> PerLayer:
        """Return G of every layer, summed over the batch, of shape (d_out, d_out)."""

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, KroneckerFactors]:
        return self.with_inputs(graph, self.preactivation_factors(graph, head, draws))

    def with_inputs(self, graph: LayerGraph, factors: PerLayer) -> dict[Layer, KroneckerFactors]:
        """Return the blocks, given the factor G of every layer."""
        return {
            layer: KroneckerFactors(self.input_factor(graph, layer), G, is_diagonal(G))
            for layer, G in factors.items()
        }

    def factors(
        self, graph: LayerGraph, draws: Draws | None, head: Head | None = None
    ) -> dict[Layer, KroneckerFactors]:
        """Return the named factors of every layer; the head is found if not given."""
        blocks = self.blocks(graph, head or find_head(graph), draws)
        for layer, block in blocks.items():
            block.Q.name, block.G.name = f"{layer.name}_Q", f"{layer.name}_G"
            marked(block.Q)
            marked(block.G)
        return blocks

    def input_factor(self, graph: LayerGraph, layer: Layer) -> TensorVariable:
        """Return the factor Q of a layer, Eq. (21)."""
        return equations.input_factor(self.flat_input(graph, layer), layer.bias is not None)

    def flat_input(self, graph: LayerGraph, layer: Layer) -> TensorVariable:
        """Return a layer's inputs as (rows, d_in); ``sharing`` determines what a row is."""
        a = _real_input(layer)
        if self.sharing == "reduce":
            a = positions_of(graph, layer).mean(axis=1)
        return a if a.type.ndim == 2 else a.reshape((-1, a.shape[a.type.ndim - 1]))

    def columns(self, graph: LayerGraph, head: Head, draws: Draws | None) -> PerLayer:
        """Return the columns of the square root at every layer, of shape (K, R, *event)."""
        raise SpecError(f"{type(self).__name__} does not propagate a square root.")

    def from_columns(self, columns: PerLayer) -> PerLayer:
        """Return G of every layer from its columns, of shape (K, R, *event), Eq. (25)."""
        return {
            layer: equations.expected_from_square_root(self.flat_columns(C))
            for layer, C in columns.items()
        }

    def flat_columns(self, C: TensorVariable) -> TensorVariable:
        """Return a layer's columns as (K, rows, d_out), with the rows of :meth:`flat_input`."""
        if C.type.ndim == 3:
            return C
        if self.sharing == "reduce":
            return C.sum(axis=tuple(range(2, C.type.ndim - 1)))
        return C.reshape((C.shape[0], -1, C.shape[C.type.ndim - 1]))


def positions_of(graph: LayerGraph, layer: Layer) -> TensorVariable:
    """Return a layer's inputs as (R, T, d_in), where T positions share the weight."""
    a, axes = _real_input(layer), graph.example_axes[layer.preactivation]
    n_positions = 1
    for length in event_lengths(a, axes)[:-1]:
        n_positions = length * n_positions
    return a.reshape((-1, n_positions, a.shape[a.type.ndim - 1]))


def _real_input(layer: Layer) -> TensorVariable:
    """Return a layer's inputs in the dtype of its weight: products of integers would wrap."""
    dtype = layer.matrix.type.dtype
    return layer.input if layer.input.type.dtype == dtype else layer.input.astype(dtype)
