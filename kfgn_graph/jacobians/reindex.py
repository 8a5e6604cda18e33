"""Ops that move, copy, drop or sum entries: constant Jacobians of zeros and ones."""

from __future__ import annotations

import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.basic import Join
from pytensor.tensor.elemwise import DimShuffle
from pytensor.tensor.math import Sum
from pytensor.tensor.reshape import JoinDims, SplitDims
from pytensor.tensor.shape import Reshape, SpecifyShape
from pytensor.tensor.subtensor import Subtensor, indices_from_subtensor
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.jacobians.core import (
    ConstantJacobian,
    LocalJacobian,
    Pull,
    Segment,
    register_local_jacobian,
)
from kfgn_graph.layers.ir import NetworkOutput, Perturbation
from kfgn_graph.linalg.vectors import total

Span = tuple[TensorVariable | int, TensorVariable | int]


@register_local_jacobian(
    Reshape, JoinDims, SplitDims, SpecifyShape, NetworkOutput, Perturbation, CheckAndRaise
)
def local_jacobian_reshape(op: Reshape, segment: Segment) -> LocalJacobian:
    """Reshape columns to the input's event; a reshape keeps the order of an example's entries."""

    def pull(C: TensorVariable) -> TensorVariable:
        return C.reshape((C.shape[0], C.shape[1], *segment.event(0)))

    return ConstantJacobian(segment, [pull])


@register_local_jacobian(DimShuffle)
def local_jacobian_dimshuffle(op: DimShuffle, segment: Segment) -> LocalJacobian:
    """Invert the permutation of the axes and drop the axes that were added."""
    lead_v, lead_u = segment.example_axes
    order = op.new_order[lead_v:]

    def pull(C: TensorVariable) -> TensorVariable:
        added = tuple(2 + k for k, source in enumerate(order) if source == "x")
        C = C.sum(axis=added) if added else C
        kept = [source for source in order if source != "x"]
        event = range(lead_u, segment.inputs[0].type.ndim)
        return C.dimshuffle(0, 1, *(2 + kept.index(k) if k in kept else "x" for k in event))

    return ConstantJacobian(segment, [pull])


@register_local_jacobian(Join)
def local_jacobian_join(op: Join, segment: Segment) -> LocalJacobian:
    """Return to each input its slice of the columns; an input joined twice gets the sum."""
    axis = op.axis % segment.output.type.ndim
    event_axis = 2 + axis - segment.example_axes[0]
    start: TensorVariable | int = 0
    spans: dict[Variable, list[Span]] = {}
    for piece in segment.node.inputs:
        length = (
            piece.type.shape[axis] if piece.type.shape[axis] is not None else piece.shape[axis]
        )
        spans.setdefault(piece, []).append((start, start + length))
        start = start + length

    def pull_for(u: Variable) -> Pull:
        def pull(C: TensorVariable) -> TensorVariable:
            before = (slice(None),) * event_axis
            pieces = [C[(*before, slice(first, last))] for first, last in spans[u]]
            return total(pieces)

        return pull

    return ConstantJacobian(segment, [pull_for(u) for u in segment.inputs])


@register_local_jacobian(Subtensor)
def local_jacobian_subtensor(op: Subtensor, segment: Segment) -> LocalJacobian:
    """Scatter columns into zeros at the positions of the slice."""
    indices = indices_from_subtensor(segment.node.inputs[1:], op.idx_list)
    indexed = tuple(indices[segment.example_axes[1] :])

    def pull(C: TensorVariable) -> TensorVariable:
        zeros = pt.zeros((C.shape[0], C.shape[1], *segment.event(0)), dtype=C.type.dtype)
        return pt.set_subtensor(zeros[(slice(None), slice(None), *indexed)], C)

    return ConstantJacobian(segment, [pull])


@register_local_jacobian(Sum)
def local_jacobian_sum(op: Sum, segment: Segment) -> LocalJacobian:
    """Broadcast columns over the axes that were summed."""
    lead_u = segment.example_axes[1]
    summed = range(segment.inputs[0].type.ndim) if op.axis is None else op.axis

    def pull(C: TensorVariable) -> TensorVariable:
        axes = tuple(sorted(2 + axis - lead_u for axis in summed))
        full = pt.ones((C.shape[0], C.shape[1], *segment.event(0)), dtype=C.type.dtype)
        return pt.expand_dims(C, axes) * full

    return ConstantJacobian(segment, [pull])
