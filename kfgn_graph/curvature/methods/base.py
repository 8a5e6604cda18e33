"""The interfaces of the curvature methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.curvature.diagonal import DiagonalBlock, estimated_diagonals
from kfgn_graph.curvature.kronecker import ExactBlock, KroneckerFactors
from kfgn_graph.curvature.kronecker_sum import KroneckerSum
from kfgn_graph.curvature.lookups import lookup_factor
from kfgn_graph.curvature.sweeps import PerLayer, PerUse
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import Head, find_head
from kfgn_graph.jacobians.core import event_lengths
from kfgn_graph.layers.graph import DiagonalParameter, Layer, LayerGraph, Use
from kfgn_graph.layers.ir import as_rows
from kfgn_graph.layers.rows import have_same_rows
from kfgn_graph.linalg.accumulation import marked
from kfgn_graph.linalg.matrices import is_diagonal
from kfgn_graph.linalg.random import Draws
from kfgn_graph.linalg.vectors import total

Sharing = Literal["expand", "reduce"]
Tying = Literal["nearest", "sum"]
KroneckerBlock = KroneckerFactors | KroneckerSum


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
    ) -> dict[Layer, KroneckerBlock] | dict[Layer, ExactBlock]:
        """Return the curvature block of every layer."""

    def diagonals(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[DiagonalParameter, DiagonalBlock]:
        """Return the diagonal of the curvature of every parameter outside the layers.

        By default it is an unbiased estimate from random signs.

        Raises
        ------
        SpecError
            If there are such parameters, but no random numbers.
        """
        return estimated_diagonals(graph, head, draws)


@dataclass(frozen=True)
class KroneckerMethod(Method):
    """A method whose blocks are Kronecker-factored, Eq. (20).

    Parameters
    ----------
    sharing : {'expand', 'reduce'}
        The treatment of a weight that is used at several positions of one example. 'expand'
        counts each position as an example. 'reduce' first averages the inputs and sums the
        curvature over the positions (Eschenhagen et al. 2023). The affine maps that read one
        weight are positions, too.
    tying : {'nearest', 'sum'}
        The block of a weight that is read as W and as W^T, a sum of two Kronecker products
        (:class:`~kfgn_graph.KroneckerSum`). 'nearest' replaces the sum by the nearest single
        product, which every ``inverse`` can invert. 'sum' keeps it and inverts it exactly.
    """

    sharing: Sharing = "expand"
    tying: Tying = field(default="nearest", kw_only=True)

    factored = True

    def __post_init__(self) -> None:
        if self.sharing not in ("expand", "reduce"):
            raise SpecError(f"sharing={self.sharing!r} must be 'expand' or 'reduce'.")
        if self.tying not in ("sum", "nearest"):
            raise SpecError(f"tying={self.tying!r} must be 'nearest' or 'sum'.")

    @abstractmethod
    def preactivation_factors(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> PerLayer:
        """Return G of every side of a layer, summed over the batch, of shape (d_out, d_out).

        The sides, ``graph.sides``, are the layers, and for a weight that is read as W^T as well
        the layer of those maps, :attr:`Layer.reverse`.
        """

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, KroneckerBlock]:
        if not graph.layers:
            return {}
        return self.with_inputs(graph, self.preactivation_factors(graph, head, draws))

    def with_inputs(self, graph: LayerGraph, factors: PerLayer) -> dict[Layer, KroneckerBlock]:
        """Return the blocks, given the factor G of every side of a layer."""
        blocks: dict[Layer, KroneckerBlock] = {}
        for layer in graph.layers:
            Q, G = self.input_factor(graph, layer), factors[layer]
            if layer.reverse is None:
                blocks[layer] = KroneckerFactors(Q, G, is_diagonal(G))
                continue
            reverse = self.input_factor(graph, layer.reverse), factors[layer.reverse]
            both = KroneckerSum(Q, G, *reverse)
            blocks[layer] = both.nearest() if self.tying == "nearest" else both
        return blocks

    def is_sum(self, layer: Layer) -> bool:
        """Return whether the block of a layer is a :class:`KroneckerSum`."""
        return layer.reverse is not None and self.tying == "sum"

    def factors(
        self, graph: LayerGraph, draws: Draws | None, head: Head | None = None
    ) -> dict[Layer, KroneckerBlock]:
        """Return the named factors of every layer; the head is found if not given."""
        blocks = self.blocks(graph, head or find_head(graph), draws)
        for layer, block in blocks.items():
            for name, matrix in block.factors().items():
                matrix.name = f"{layer.name}_{name}"
                marked(matrix)
        return blocks

    def input_factor(self, graph: LayerGraph, layer: Layer) -> TensorVariable:
        """Return the factor Q of a layer, Eq. (21); its diagonal if the layer is a lookup."""
        if layer.index is not None:
            return lookup_factor(graph, layer, self.sharing)
        return equations.input_factor(self.flat_input(graph, layer), layer.bias is not None)

    def flat_input(self, graph: LayerGraph, layer: Layer) -> TensorVariable:
        """Return a layer's inputs as (rows, d_in); ``sharing`` determines what a row is."""
        if self.sharing == "reduce":
            return positions_of(graph, layer).mean(axis=1)
        rows = [as_rows(_real_input(layer, use)) for use in layer.uses]
        return rows[0] if len(rows) == 1 else pt.concatenate(rows, axis=0)

    def columns(self, graph: LayerGraph, head: Head, draws: Draws | None) -> PerUse:
        """Return the columns of the square root at every use, each of shape (K, R, *event)."""
        raise SpecError(f"{type(self).__name__} does not propagate a square root.")

    def from_columns(self, columns: PerUse) -> PerLayer:
        """Return G of every side from the columns of its uses, (K, R, *event), Eq. (25)."""
        return {
            layer: equations.expected_from_square_root(self.flat_columns(C))
            for layer, C in columns.items()
        }

    def flat_columns(self, columns: Sequence[TensorVariable]) -> TensorVariable:
        """Return a layer's columns as (K, rows, d_out), with the rows of :meth:`flat_input`."""
        flat = [self._flat(C) for C in columns]
        if len(flat) == 1:
            return flat[0]
        return total(flat) if self.sharing == "reduce" else pt.concatenate(flat, axis=1)

    def _flat(self, C: TensorVariable) -> TensorVariable:
        if C.type.ndim == 3:
            return C
        if self.sharing == "reduce":
            return C.sum(axis=tuple(range(2, C.type.ndim - 1)))
        return C.reshape((C.shape[0], -1, C.shape[C.type.ndim - 1]))


def positions_of(graph: LayerGraph, layer: Layer) -> TensorVariable:
    """Return a layer's inputs as (R, T, d_in), where T positions share the weight.

    Raises
    ------
    SpecError
        If the affine maps that read the weight cannot be shown to have the same examples.
    """
    first, *further = layer.uses
    for use in further:
        if not have_same_rows(first.preactivation, use.preactivation, graph.example_axes):
            raise SpecError(
                f"the affine maps that read the weight of layer {layer.name} cannot be shown to "
                "have the same examples in the same rows, which sharing='reduce' and the exact "
                "blocks need: use sharing='expand'."
            )
    parts = [_positions(graph, layer, use) for use in layer.uses]
    return parts[0] if len(parts) == 1 else pt.concatenate(parts, axis=1)


def _positions(graph: LayerGraph, layer: Layer, use: Use) -> TensorVariable:
    a, axes = _real_input(layer, use), graph.example_axes[use.preactivation]
    n_positions = 1
    for length in event_lengths(a, axes)[:-1]:
        n_positions = length * n_positions
    return a.reshape((-1, n_positions, a.shape[a.type.ndim - 1]))


def _real_input(layer: Layer, use: Use) -> TensorVariable:
    """Return the inputs of a use in the dtype of its weight: products of integers would wrap."""
    dtype = layer.matrix.type.dtype
    return use.input if use.input.type.dtype == dtype else use.input.astype(dtype)
