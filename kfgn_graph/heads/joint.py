"""Losses of several independent outputs: a block-diagonal Hessian, a head for each block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import toposort
from pytensor.tensor.basic import Join
from pytensor.tensor.shape import Shape, Shape_i, SpecifyShape
from pytensor.tensor.subtensor import Subtensor, indices_from_subtensor
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.core import Head
from kfgn_graph.heads.generic import GenericHead
from kfgn_graph.heads.linearity import is_linear_node
from kfgn_graph.layers.ir import NetworkOutput, network_output
from kfgn_graph.layers.traversal import clients_of
from kfgn_graph.linalg.random import Draws

#: Returns the head of a loss at an output with a number of example axes.
FindHead = Callable[[TensorVariable, TensorVariable, int], Head]


@dataclass(frozen=True, eq=False)
class Block:
    """One diagonal block of H.

    Attributes
    ----------
    head : Head
        The head of the loss as a function of the block's outputs, the others held constant.
    columns : (k,) array of int
        The positions of the block's outputs in z.
    """

    head: Head
    columns: np.ndarray

    def square_root(self, start: TensorVariable | int, count: int) -> TensorVariable:
        """Return columns ``start:start + count`` of the block's root; those before 0 are zero."""
        if not isinstance(self.head, GenericHead):
            return self.head.square_root(start, count)
        first = pt.maximum(start, 0)
        index = pt.arange(count) + pt.minimum(start, 0)
        found = self.head.square_root(first, count)[pt.maximum(index, 0)]
        present = pt.ge(index, 0).astype(found.type.dtype)
        return found * present.reshape((count, *[1] * (found.type.ndim - 1)))


@dataclass(frozen=True, eq=False)
class JointHead(Head):
    """A loss that is a sum of functions of disjoint groups of outputs.

    Attributes
    ----------
    blocks : tuple of Block
        The diagonal blocks of H, which cover all outputs.
    """

    blocks: tuple[Block, ...]

    name = "sum of independent losses"

    def hessians(self) -> TensorVariable:
        return self._block_diagonal([block.head.hessians() for block in self.blocks])

    def psd_hessians(self) -> TensorVariable:
        return self._block_diagonal([block.head.psd_hessians() for block in self.blocks])

    def summed_hessian(self) -> TensorVariable:
        return self._block_diagonal([block.head.summed_hessian() for block in self.blocks])

    def square_root(self, start: TensorVariable | int, count: int) -> TensorVariable:
        columns, before = [], 0
        for block in self.blocks:
            columns.append(block.square_root(start - before, count))
            before += len(block.columns)
        return self._in_order(columns)

    def coordinates(self, gradient: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
        parts = [b.head.coordinates(_taken(gradient, b.columns)) for b in self.blocks]
        rho = pt.concatenate([rho for rho, _ in parts], axis=0)
        return rho, self._in_order([outside for _, outside in parts])

    def sampled(self, draws: Draws, samples: int) -> TensorVariable:
        return self._in_order([block.head.sampled(draws, samples) for block in self.blocks])

    def curvature_times(self, direction: TensorVariable) -> TensorVariable:
        parts = [_taken(direction, block.columns) for block in self.blocks]
        return self._in_order(
            [b.head.curvature_times(u) for b, u in zip(self.blocks, parts, strict=True)]
        )

    def _order(self) -> np.ndarray:
        """Return the position of each output of z among the blocks' outputs."""
        return np.argsort(np.concatenate([block.columns for block in self.blocks]))

    def _in_order(self, parts: Sequence[TensorVariable]) -> TensorVariable:
        """Concatenate the blocks' parts along the last axis, in the order of z."""
        return _taken(pt.concatenate(parts, axis=-1), self._order())

    def _block_diagonal(self, matrices: Sequence[TensorVariable]) -> TensorVariable:
        """Return the matrix of shape (..., K, K) with the given blocks, in the order of z."""
        sizes = [len(block.columns) for block in self.blocks]
        rows = []
        for i, M in enumerate(matrices):
            around = [pt.zeros((*M.shape[:-1], k), dtype=M.type.dtype) for k in sizes]
            rows.append(pt.concatenate([*around[:i], M, *around[i + 1 :]], axis=-1))
        order = self._order()
        joined = _taken(pt.concatenate(rows, axis=-2), order)
        return joined if _is_range(order) else joined[..., order, :]


def _is_range(columns: np.ndarray) -> bool:
    return bool(np.array_equal(columns, np.arange(columns[0], columns[0] + len(columns))))


def _taken(x: TensorVariable, columns: np.ndarray) -> TensorVariable:
    """Return columns of the last axis of x, by a slice where they are consecutive."""
    if _is_range(columns):
        return x[..., int(columns[0]) : int(columns[-1]) + 1]
    return x[..., columns]


def match_joint(
    loss: TensorVariable, z: TensorVariable, example_axes: int, find_head: FindHead
) -> Head | None:
    """Return the head of a loss whose outputs are concatenated and partly independent.

    Two outputs are independent if no nonlinear Op of the loss reads both: the mixed second
    derivative is zero for all arguments.
    """
    slices = _slices(loss, z, example_axes)
    if slices is None:
        return None
    groups = _coupled_groups(loss, [v for v, _ in slices])
    if len(groups) < 2:
        return None
    blocks = []
    for group in groups:
        members = [slices[i] for i in group]
        columns = np.concatenate([np.arange(*span) for _, span in members])
        variables = [v for v, _ in members]
        blocks.append(Block(_head_of(loss, variables, example_axes, find_head), columns))
    return JointHead(z, example_axes, loss, tuple(blocks))


def _slices(
    loss: TensorVariable, z: TensorVariable, example_axes: int
) -> list[tuple[TensorVariable, tuple[int, int]]] | None:
    """Return the slices of a concatenation z that the loss reads, each with its columns.

    None if the loss reads z in another way, or if the slices do not divide z.
    """
    if not _is_concatenation(z) or z.type.ndim != example_axes + 1 or z.type.shape[-1] is None:
        return None
    clients = clients_of(toposort([loss]))
    found: dict[tuple[int, int], Apply] = {}
    for node, _ in clients.get(z, []):
        span = _span(node, example_axes)
        if span is None or span in found:
            return None
        found[span] = node
    edges = [0, *(stop for _, stop in sorted(found))]
    if [start for start, _ in sorted(found)] != edges[:-1] or edges[-1] != z.type.shape[-1]:
        return None
    return [(_specified(found[span].outputs[0], clients), span) for span in sorted(found)]


def _is_concatenation(z: TensorVariable) -> bool:
    node = z.owner
    if node is not None and isinstance(node.op, NetworkOutput):
        node = node.inputs[0].owner
    return node is not None and isinstance(node.op, Join)


def _span(node: Apply, example_axes: int) -> tuple[int, int] | None:
    """Return the columns that a node takes if it is a slice of the last axis, else None."""
    if not isinstance(node.op, Subtensor):
        return None
    *examples, last = indices_from_subtensor(node.inputs[1:], node.op.idx_list)
    if len(examples) != example_axes or any(index != slice(None) for index in examples):
        return None
    if not isinstance(last, slice) or last.step not in (None, 1):
        return None
    start, stop = _static(last.start, 0), _static(last.stop, node.inputs[0].type.shape[-1])
    return None if start is None or stop is None else (start, stop)


def _static(bound: object, default: int) -> int | None:
    if bound is None:
        return default
    if isinstance(bound, Constant):
        bound = int(bound.data)
    return bound if isinstance(bound, int) and bound >= 0 else None


def _specified(v: TensorVariable, clients: dict[Variable, list[tuple[Apply, int]]]) -> Variable:
    """Return the variable that declares the shape of v, if it is the only client of v."""
    readers = [node for node, _ in clients.get(v, [])]
    if len(readers) == 1 and isinstance(readers[0].op, SpecifyShape):
        return readers[0].outputs[0]
    return v


def _coupled_groups(loss: TensorVariable, slices: Sequence[Variable]) -> list[list[int]]:
    """Return groups of slices, by index; nonlinear Ops of the loss read one group each."""
    groups = {i: {i} for i in range(len(slices))}
    reads = {v: {i} for i, v in enumerate(slices)}
    for node in toposort([loss]):
        if node.outputs[0] in reads or isinstance(node.op, Shape | Shape_i):
            continue
        members = set().union(*(reads.get(v, set()) for v in node.inputs))
        if not members:
            continue
        reads.update(dict.fromkeys(node.outputs, members))
        if len(members) > 1 and not is_linear_node(node, [v in reads for v in node.inputs]):
            merged = set().union(*(groups[i] for i in members))
            groups |= dict.fromkeys(merged, merged)
    unique = {min(group): sorted(group) for group in groups.values()}
    return [unique[first] for first in sorted(unique)]


def _head_of(
    loss: TensorVariable, members: Sequence[TensorVariable], example_axes: int, find_head: FindHead
) -> Head:
    """Return the head of the loss at one group of slices, the others held constant."""
    if len(members) == 1:
        return find_head(loss, members[0], example_axes)
    z = network_output(pt.concatenate(members, axis=example_axes))
    start, replacements = 0, {}
    for v in members:
        stop = start + v.type.shape[-1]
        piece = z[(*[slice(None)] * example_axes, slice(start, stop))]
        replacements[v] = piece if piece.type == v.type else pt.specify_shape(piece, v.type.shape)
        start = stop
    return GenericHead(z, example_axes, graph_replace(loss, replacements))
