"""The curvature methods: how each starts at the output, what it carries, what it makes of it.

============  =======================  ==========================  =====================
method        starts from              carries back                equations
============  =======================  ==========================  =====================
KFRA          E[H_L]                   its expectation, nested     (26)
KFLR          exact root of H_L        K columns an example        (23)-(25)
KFAC          random root of H_L       one column a sample         (24)-(25), sampled
Block*        H_L of each example      one matrix an example       (7)-(10), (14)-(18), (22)
============  =======================  ==========================  =====================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytensor
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.curvature.sweeps import (
    EXPECTED,
    PerLayer,
    output_gradients,
    per_example_algebra,
    sweep_joint,
    sweep_square_root,
)
from kfgn_graph.linalg.random import Draws, self_advancing_counter
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import Head, find_head
from kfgn_graph.jacobians.core import event_lengths
from kfgn_graph.curvature.kronecker import ExactBlock, KroneckerFactors
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.linalg.matrices import is_diagonal

Sharing = Literal["expand", "reduce"]

#: Columns of the square root carried at once where KFLR's chunk size is left open.
DEFAULT_CHUNK = 32


class Method(ABC):
    """A way to approximate the curvature of every layer."""

    #: Whether the method draws random numbers.
    random = False

    @abstractmethod
    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, KroneckerFactors] | dict[Layer, ExactBlock]:
        """Return the block of every layer, symbolically."""


@dataclass(frozen=True)
class KroneckerMethod(Method):
    """A method whose blocks are Kronecker-factored, Eq. (20).

    Parameters
    ----------
    sharing : {'expand', 'reduce'}
        How a weight that is used at several positions of one example counts: each position
        as an example of its own, or the positions averaged (inputs) and summed (curvature)
        first.
    """

    sharing: Sharing = "expand"

    #: Whether it carries columns of a square root, which :meth:`columns` returns.
    has_columns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.sharing not in ("expand", "reduce"):
            raise SpecError(f"sharing={self.sharing!r} is not 'expand' or 'reduce'.")

    @abstractmethod
    def preactivation_factors(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> PerLayer:
        """Return G of every layer, of shape (d_out, d_out)."""

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, KroneckerFactors]:
        return self.with_inputs(graph, self.preactivation_factors(graph, head, draws))

    def with_inputs(self, graph: LayerGraph, factors: PerLayer) -> dict[Layer, KroneckerFactors]:
        """Return the blocks, given G of every layer."""
        return {
            layer: KroneckerFactors(self.input_factor(graph, layer), G, is_diagonal(G))
            for layer, G in factors.items()
        }

    def factors(
        self, graph: LayerGraph, draws: Draws | None, head: Head | None = None
    ) -> dict[Layer, KroneckerFactors]:
        """Return the factors of every layer of a graph, whose head is found where not given."""
        blocks = self.blocks(graph, head or find_head(graph), draws)
        for layer, block in blocks.items():
            block.Q.name, block.G.name = f"{layer.name}_Q", f"{layer.name}_G"
        return blocks

    def input_factor(self, graph: LayerGraph, layer: Layer) -> TensorVariable:
        """Return Q of a layer, Eq. (21)."""
        return equations.input_factor(self.flat_input(graph, layer), layer.bias is not None)

    def flat_input(self, graph: LayerGraph, layer: Layer) -> TensorVariable:
        """Return a layer's inputs as (R, d_in), where ``sharing`` says what a row is."""
        a = layer.input
        if self.sharing == "reduce":
            a = positions_of(graph, layer).mean(axis=1)
        return a if a.type.ndim == 2 else a.reshape((-1, a.shape[a.type.ndim - 1]))

    def columns(self, graph: LayerGraph, head: Head, draws: Draws | None) -> PerLayer:
        """Return the columns of the square root at every layer, of shape (K, R, *event)."""
        raise SpecError(f"{type(self).__name__} carries no square root.")

    def from_columns(self, columns: PerLayer) -> PerLayer:
        """Return G of every layer from columns (K, R, *event) at it, Eq. (25)."""
        return {
            layer: equations.expected_from_square_root(self.flat_columns(C))
            for layer, C in columns.items()
        }

    def flat_columns(self, C: TensorVariable) -> TensorVariable:
        """Return a layer's columns as (K, R, d_out), rows like those of :meth:`flat_input`."""
        if C.type.ndim == 3:
            return C
        if self.sharing == "reduce":
            return C.sum(axis=tuple(range(2, C.type.ndim - 1)))
        return C.reshape((C.shape[0], -1, C.shape[C.type.ndim - 1]))


@dataclass(frozen=True)
class KFRA(KroneckerMethod):
    """Kronecker-Factored Recursive Approximation, Eq. (26): carries one expected matrix.

    Deterministic, at a cost that depends on the batch only through products of activations.
    """

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


@dataclass(frozen=True)
class KFLR(KroneckerMethod):
    """Kronecker-Factored Low Rank, Eq. (23)-(25): carries the exact root, K columns an example.

    Parameters
    ----------
    chunk_size : int, optional
        How many columns are carried at once, which bounds the memory to that many copies of
        the activations. By default all, or 32 where there are more.
    """

    chunk_size: int | None = None

    has_columns = True

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
            return [total + G for total, G in zip(totals, partial.values(), strict=True)]

        zeros = [_zero_factor(layer) for layer in graph.layers]
        sums = pytensor.scan(
            step,
            sequences=[pt.arange(0, n_columns, chunk)],
            outputs_info=zeros,
            return_updates=False,
            return_list=True,
        )
        return {layer: total[-1] for layer, total in zip(graph.layers, sums, strict=True)}

    def columns(self, graph: LayerGraph, head: Head, draws: Draws | None) -> PerLayer:
        n_columns = head.n_outputs
        if not isinstance(n_columns, int):
            raise SpecError("KFLR's columns are wanted at once, but their number is not known.")
        return sweep_square_root(graph, head.square_root(0, n_columns))

    def _chunk(
        self, graph: LayerGraph, head: Head, start: TensorVariable | int, count: int
    ) -> PerLayer:
        return self.from_columns(sweep_square_root(graph, head.square_root(start, count)))


def _zero_factor(layer: Layer) -> TensorVariable:
    d = layer.matrix.type.shape[1] or layer.matrix.shape[1]
    return pt.zeros((d, d), dtype=layer.matrix.type.dtype)


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


@dataclass(frozen=True)
class BlockGaussNewton(Method):
    """The exact Gauss-Newton block of every layer, Eq. (14)-(18) and (22): for small nets."""

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, ExactBlock]:
        curvature = sweep_joint(graph, head.psd_hessians(), per_example_algebra(None))
        return _exact_blocks(graph, curvature)


@dataclass(frozen=True)
class BlockHessian(Method):
    """The exact Hessian block of every layer, Eq. (7)-(10), D included: for small nets."""

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, ExactBlock]:
        algebra = per_example_algebra(output_gradients(graph))
        return _exact_blocks(graph, sweep_joint(graph, head.hessians(), algebra))


def positions_of(graph: LayerGraph, layer: Layer) -> TensorVariable:
    """Return a layer's inputs as (R, T, d_in): examples, positions that share W, features."""
    a, axes = layer.input, graph.example_axes[layer.preactivation]
    n_positions = 1
    for length in event_lengths(a, axes)[:-1]:
        n_positions = length * n_positions
    return a.reshape((-1, n_positions, a.shape[a.type.ndim - 1]))


def _exact_blocks(graph: LayerGraph, curvature: PerLayer) -> dict[Layer, ExactBlock]:
    blocks = {}
    for layer, G in curvature.items():
        a = positions_of(graph, layer)
        inputs = equations.with_unit(a) if layer.bias is not None else a
        d = layer.matrix.shape[1]
        shape = (G.shape[0], a.shape[1], d, a.shape[1], d)
        blocks[layer] = ExactBlock(inputs, G.reshape(shape))
    return blocks


def curvature_factors(
    graph: LayerGraph, method: Method, draws: Draws | None = None
) -> dict[Layer, KroneckerFactors] | dict[Layer, ExactBlock]:
    """Return the curvature block of every layer of a graph, symbolically.

    Parameters
    ----------
    graph : LayerGraph
        From :func:`kfgn_graph.trace_layers`.
    method : Method
        ``KFRA()``, ``KFLR()``, ``KFAC()``; ``BlockGaussNewton()`` and ``BlockHessian()`` give
        exact blocks, for small nets.
    draws : Draws, optional
        Where KFAC takes its random numbers from. By default a shared counter, which every
        call of a compiled function advances.

    Returns
    -------
    dict
        For each layer a :class:`KroneckerFactors` (for the exact methods an
        :class:`ExactBlock`), over the user's own inputs. The block approximates that of the
        loss itself, penalties apart.

    Raises
    ------
    CurvatureRuleNotFound
        If the method cannot carry curvature through an Op of the network.
    """
    if method.random and draws is None:
        draws = Draws(self_advancing_counter())
    if isinstance(method, KroneckerMethod):
        return method.factors(graph, draws)
    return method.blocks(graph, find_head(graph), draws)
