"""The joint output of a loss that reads several outputs of the network.

A Gaussian likelihood with a mean and a log variance, a variational autoencoder or a sum of two
tasks reads several affine maps. They meet only in the loss of each example, in which the loss is
linear and has no curvature. The joint output z concatenates them, and the loss reads slices of z,
so that H_L is the Hessian in all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import toposort
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.layers.ir import Affine, network_output
from kfgn_graph.layers.rows import varies_by_example
from kfgn_graph.layers.traversal import dependents, nodes_between, reads_batch

type Size = TensorVariable | int


def exposed_outputs(
    loss: Variable, varying: Mapping[Variable, None], stops: Collection[Variable] = ()
) -> list[TensorVariable]:
    """Return the affine maps that the loss reads by a path without another, in forward order.

    Parameters
    ----------
    loss : Variable
        The data loss, in the intermediate representation.
    varying : collection of Variable
        The variables that depend on the layers.
    stops : collection of Variable
        Variables that count as affine maps.
    """
    found, pending, seen = set(), [loss], set()
    while pending:
        v = pending.pop()
        if v in seen or v not in varying:
            continue
        seen.add(v)
        if isinstance(v.owner.op, Affine) or v in stops:
            found.add(v)
        else:
            pending.extend(v.owner.inputs)
    return [node.outputs[0] for node in toposort([loss]) if node.outputs[0] in found]


def reads_examples(v: Variable, exposed: Sequence[Variable]) -> bool:
    """Return whether v reads values of the examples other than through ``exposed``."""
    if reads_batch(v, exposed):
        return True
    varying = dependents([v], exposed)
    nodes = nodes_between(v, {u: None for u in varying if u not in exposed})
    return any(varies_by_example(n, u) for n in nodes for u in n.inputs if u not in varying)


def with_joint_output(
    loss: TensorVariable, exposed: Sequence[TensorVariable], example_axes: int
) -> tuple[TensorVariable, TensorVariable]:
    """Insert the joint output of several affine maps into a loss.

    Parameters
    ----------
    loss : scalar TensorVariable
        The loss, in the intermediate representation.
    exposed : sequence of TensorVariable
        The affine maps, of shapes (N, ..., *event), with the same example axes.
    example_axes : int
        The number of their leading axes that enumerate examples.

    Returns
    -------
    tuple
        The loss as a function of z, and z of shape (N, ..., K), with K the sum of the lengths of
        the flattened events.
    """
    parts = [_flat_event(v, example_axes) for v in exposed]
    z = network_output(pt.concatenate(parts, axis=example_axes))
    z.name = f"joint({', '.join(v.name or 'unnamed' for v in exposed)})"
    start: Size = 0
    replacements = {}
    for v, part in zip(exposed, parts, strict=True):
        stop = start + _length(part, example_axes)
        piece = z[(*[slice(None)] * example_axes, slice(start, stop))]
        replacements[v] = _restored(piece, v, example_axes)
        start = stop
    return graph_replace(loss, replacements), z


def _length(v: TensorVariable, axis: int) -> Size:
    static = v.type.shape[axis]
    return v.shape[axis] if static is None else static


def _flat_event(v: TensorVariable, example_axes: int) -> TensorVariable:
    """Flatten the axes of v after the example axes into one."""
    if v.type.ndim == example_axes + 1:
        return v
    size: Size = 1
    for axis in range(example_axes, v.type.ndim):
        size = size * _length(v, axis)
    return v.reshape((*(v.shape[k] for k in range(example_axes)), size))


def _restored(piece: TensorVariable, v: TensorVariable, example_axes: int) -> TensorVariable:
    """Return a slice of the joint output in the shape of v, with what is known of it."""
    if v.type.ndim != example_axes + 1:
        lengths = [piece.shape[k] for k in range(example_axes)]
        piece = piece.reshape((*lengths, *(_length(v, k) for k in range(example_axes, v.ndim))))
    return piece if piece.type == v.type else pt.specify_shape(piece, v.type.shape)
