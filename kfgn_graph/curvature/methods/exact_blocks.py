"""The exact Gauss-Newton and Hessian blocks of every layer, for small networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.curvature.diagonal import DiagonalBlock, exact_diagonals
from kfgn_graph.curvature.kronecker import ExactBlock
from kfgn_graph.curvature.methods.base import Method, positions_of
from kfgn_graph.curvature.sweeps import (
    PerUse,
    output_gradients,
    per_example_algebra,
    sweep_joint,
    sweep_square_root,
)
from kfgn_graph.errors import CurvatureRuleNotFound, SpecError
from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import DiagonalParameter, Layer, LayerGraph, preactivations
from kfgn_graph.linalg.accumulation import marked
from kfgn_graph.linalg.random import Draws
from kfgn_graph.printing import describe


@dataclass(frozen=True)
class BlockGaussNewton(Method):
    """The exact Gauss-Newton block of every layer, Eq. (14)-(18) and (22), for small networks."""

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, ExactBlock]:
        curvature = sweep_joint(graph, head.psd_hessians(), per_example_algebra(None))
        tied = [layer for layer in graph.layers if is_tied(layer)]
        columns: PerUse = {}
        if tied:
            columns = sweep_square_root(graph, head.square_root(0, head.n_outputs))
        return {
            layer: _tied_block(graph, layer, columns)
            if layer in tied
            else _exact_block(graph, layer, *curvature[layer])
            for layer in graph.layers
        }

    def diagonals(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[DiagonalParameter, DiagonalBlock]:
        return exact_diagonals(graph, head)


@dataclass(frozen=True)
class BlockHessian(Method):
    """The exact Hessian block of every layer, Eq. (7)-(10) with D, for small networks."""

    def blocks(
        self, graph: LayerGraph, head: Head, draws: Draws | None
    ) -> dict[Layer, ExactBlock]:
        for layer in graph.layers:
            if is_tied(layer):
                raise CurvatureRuleNotFound(
                    "BlockHessian has no second derivatives between the affine maps that read "
                    f"the weight of layer {layer.name}: use BlockGaussNewton, KFLR or KFAC."
                )
        if graph.diagonal:
            raise SpecError(
                f"BlockHessian has no block for {describe(graph.diagonal[0].weight)}, which no "
                "layer holds: use BlockGaussNewton()."
            )
        algebra = per_example_algebra(output_gradients(graph))
        curvature = sweep_joint(graph, head.hessians(), algebra)
        return {layer: _exact_block(graph, layer, *curvature[layer]) for layer in graph.layers}


def is_tied(layer: Layer) -> bool:
    """Return whether several affine maps read the layer's weight."""
    return len(preactivations([layer])) > 1


def _exact_block(graph: LayerGraph, layer: Layer, G: TensorVariable) -> ExactBlock:
    a = positions_of(graph, layer)
    inputs = equations.with_unit(a) if layer.bias is not None else a
    d = layer.matrix.shape[1]
    shape = (G.shape[0], a.shape[1], d, a.shape[1], d)
    return ExactBlock(inputs, marked(G.reshape(shape)))


def _tied_block(graph: LayerGraph, layer: Layer, columns: PerUse) -> ExactBlock:
    """Return the block of a weight that several affine maps read, from the square root.

    The Jacobians of all maps are summed in [W; b] before they are squared. The block is stored as
    the curvature of one example with a unit input, the sum over the examples.
    """
    a = positions_of(graph, layer)
    inputs = equations.with_unit(a) if layer.bias is not None else a
    root = inputs.mT @ _as_positions(columns[layer])
    if layer.reverse is not None:
        turned = _as_positions(columns[layer.reverse]).mT @ positions_of(graph, layer.reverse)
        root = pt.inc_subtensor(root[:, :, : turned.shape[2]], turned)
    size = root.shape[2] * root.shape[3]
    rows = root.reshape((-1, size))
    unit = pt.ones((1, 1, 1), dtype=rows.type.dtype)
    return ExactBlock(unit, marked((rows.T @ rows).reshape((1, 1, size, 1, size))))


def _as_positions(columns: Sequence[TensorVariable]) -> TensorVariable:
    """Return the columns at the uses of a weight as (K, R, T, d), for T positions in all."""
    parts = [C.reshape((C.shape[0], C.shape[1], -1, C.shape[C.type.ndim - 1])) for C in columns]
    return parts[0] if len(parts) == 1 else pt.concatenate(parts, axis=2)
