"""The reverse sweeps that propagate curvature from the output to every pre-activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.curvature.live_cut import LiveCut
from kfgn_graph.jacobians import LocalJacobian, Segment, local_jacobian
from kfgn_graph.jacobians.core import flatten_examples, product
from kfgn_graph.layers.derivatives import grads
from kfgn_graph.layers.functions_of_sums import at_current_values
from kfgn_graph.layers.graph import Layer, LayerGraph, preactivations
from kfgn_graph.layers.traversal import clients_of, dependents, nodes_between

#: Curvature at each layer's pre-activation.
PerLayer = dict[Layer, TensorVariable]
#: Curvature at the pre-activation of each affine map of each layer.
PerUse = dict[Layer, list[TensorVariable]]


def segments_of(graph: LayerGraph) -> list[Segment]:
    """Return the segments between the first pre-activations and the output, in forward order.

    A composition of elementwise Ops is one segment. It ends at a variable that has a client of
    another kind.
    """
    varying = dependents([graph.output], preactivations(graph.layers))
    nodes = nodes_between(graph.output, varying)
    clients = clients_of(nodes)
    boundary = {v for v in varying if _is_boundary(v, graph, clients)}
    segments = []
    for node in nodes:
        for v in node.outputs:
            if v in boundary:
                leaves = _leaves(node, boundary, varying)
                if leaves:
                    axes = tuple(graph.example_axes[u] for u in (v, *leaves))
                    segments.append(Segment(node, v, leaves, axes))
    return segments


def _is_boundary(
    v: Variable, graph: LayerGraph, clients: dict[Variable, list[tuple[Apply, int]]]
) -> bool:
    """Return whether a segment ends at v."""
    if v is graph.output or v.owner is None or not isinstance(v.owner.op, Elemwise):
        return True
    return any(not isinstance(client.op, Elemwise) for client, _ in clients.get(v, []))


def _leaves(
    node: Apply, boundary: set[Variable], varying: dict[Variable, None]
) -> tuple[TensorVariable, ...]:
    """Return the inputs of the segment that ends at ``node``: boundary variables that vary."""
    found: dict[Variable, None] = {}
    pending = list(reversed(node.inputs))
    seen = set()
    while pending:
        v = pending.pop()
        if v not in varying or v in seen:
            continue
        seen.add(v)
        if v in boundary:
            found[v] = None
        else:
            pending.extend(reversed(v.owner.inputs))
    return tuple(found)


def flatten_output_columns(graph: LayerGraph, columns: TensorVariable) -> TensorVariable:
    """Flatten the example axes of columns at the output: (K, *z.shape) to (K, R, *event)."""
    axes = graph.example_axes[graph.output]
    if axes == 1:
        return columns
    event = [columns.shape[k] for k in range(1 + axes, columns.type.ndim)]
    return columns.reshape((columns.shape[0], -1, *event))


def sweep_square_root(graph: LayerGraph, columns: TensorVariable) -> PerUse:
    """Propagate columns of the square root from the output to every layer, Eq. (24).

    Parameters
    ----------
    graph : LayerGraph
        The network.
    columns : TensorVariable
        The columns at the output, of shape (K, *z.shape).

    Returns
    -------
    dict
        For each side of a layer the columns at the pre-activation of each of its uses, of shape
        (K, R, *event). Columns from several paths add, so that the result is exact for any
        network.
    """
    columns_at: dict[Variable, TensorVariable] = {
        graph.output: flatten_output_columns(graph, columns)
    }
    for segment in reversed(segments_of(graph)):
        if segment.output not in columns_at:
            continue
        jacobian = local_jacobian(segment.node.op, segment)
        pulled = equations.propagate_square_root(
            jacobian.transpose_apply, columns_at[segment.output]
        )
        for u, C in zip(segment.inputs, pulled, strict=True):
            columns_at[u] = columns_at[u] + C if u in columns_at else C
    return {side: [columns_at[use.preactivation] for use in side.uses] for side in graph.sides}


@dataclass(frozen=True)
class BlockAlgebra:
    """The rules that propagate blocks of joint curvature through a segment.

    They act on expectations over the batch (KFRA) or on each example (exact blocks).

    Attributes
    ----------
    one_sided : callable
        Maps (jacobian, M) to the list of J_i^T M for each input i.
    two_sided : callable
        Maps (jacobian, G) to the lists of J_i^T G J_j for each i and j >= i, plus the
        second-order term if there is one.
    """

    one_sided: Callable[[LocalJacobian, TensorVariable], list[TensorVariable]]
    two_sided: Callable[[LocalJacobian, TensorVariable], list[list[TensorVariable]]]


def sweep_joint(graph: LayerGraph, curvature: TensorVariable, algebra: BlockAlgebra) -> PerUse:
    """Propagate joint curvature from the output to every layer.

    Parameters
    ----------
    graph : LayerGraph
        The network.
    curvature : TensorVariable
        The block at the output, of shape (D, D) or (R, D, D), as ``algebra`` requires.
    algebra : BlockAlgebra
        The rules that propagate a block through a segment.

    Returns
    -------
    dict
        For each side of a layer the block of the pre-activation of each of its uses with itself,
        (D, D) or (R, D, D) like ``curvature``.
    """
    cut = LiveCut(graph.output, curvature)
    wanted = dict.fromkeys(preactivations(graph.layers))
    found: dict[Variable, TensorVariable] = {}
    for segment in reversed(segments_of(graph)):
        v = segment.output
        if v not in cut:
            continue
        own = cut.pop_diagonal(v)
        if v in wanted:
            found[v] = own
        _pull_back(cut, segment, own, algebra)
    for v in wanted:
        if v not in found:
            found[v] = cut.pop_diagonal(v)
    return {side: [found[use.preactivation] for use in side.uses] for side in graph.sides}


def _pull_back(cut: LiveCut, segment: Segment, own: TensorVariable, algebra: BlockAlgebra) -> None:
    """Move the cut across a segment: replace the blocks of its output by blocks of its inputs.

    ``own`` is the block of the output with itself, already removed from the cut.
    """
    jacobian = local_jacobian(segment.node.op, segment)
    for w, block in cut.pop_cross(segment.output):
        for u, pulled in zip(segment.inputs, algebra.one_sided(jacobian, block), strict=True):
            cut.add(u, w, pulled)
    for i, row in enumerate(algebra.two_sided(jacobian, own)):
        for j, block in enumerate(row, start=i):
            if i == j:
                cut.add_diagonal(segment.inputs[i], block)
            else:
                cut.add(segment.inputs[i], segment.inputs[j], block)


def _mean_transpose_apply(jacobian: LocalJacobian, M: TensorVariable) -> list[TensorVariable]:
    return jacobian.mean_transpose_apply(M)


def _mean_congruence(jacobian: LocalJacobian, G: TensorVariable) -> list[list[TensorVariable]]:
    return jacobian.mean_congruence(G)


#: The rules of KFRA, for blocks (D, D) averaged over the batch.
EXPECTED = BlockAlgebra(_mean_transpose_apply, _mean_congruence)


def per_example_algebra(gradients: dict[Variable, TensorVariable] | None) -> BlockAlgebra:
    """Return the exact rules, for blocks (R, D, D) of each example.

    Parameters
    ----------
    gradients : dict or None
        The gradient of the loss at the output of every segment, of shape (R, *event), for the
        second-order term of Eq. (8). None omits that term, as in Eq. (22).
    """

    def two_sided(jacobian: LocalJacobian, G: TensorVariable) -> list[list[TensorVariable]]:
        n = len(jacobian.segment.inputs)
        extra = None
        if gradients is not None:
            extra = jacobian.second_order(gradients[jacobian.segment.output])
        return [
            [
                equations.preactivation_hessian(
                    equations.congruence(_left(jacobian, i), G, _left(jacobian, j)),
                    None if extra is None else extra[i][j - i],
                )
                for j in range(i, n)
            ]
            for i in range(n)
        ]

    def one_sided(jacobian: LocalJacobian, M: TensorVariable) -> list[TensorVariable]:
        return [_left(jacobian, i)(M) for i in range(len(jacobian.segment.inputs))]

    return BlockAlgebra(one_sided, two_sided)


def _left(jacobian: LocalJacobian, index: int) -> Callable[[TensorVariable], TensorVariable]:
    """Return the map X -> J_i^T X per example, for X of shape (R, D_v, m)."""
    segment = jacobian.segment

    def apply(X: TensorVariable) -> TensorVariable:
        columns = X.dimshuffle(2, 0, 1).reshape((X.shape[2], X.shape[0], *segment.event()))
        pulled = jacobian.transpose_apply(columns)[index]
        flat = pulled.reshape((X.shape[2], X.shape[0], product(segment.event(index))))
        return flat.dimshuffle(1, 2, 0)

    return apply


def output_gradients(graph: LayerGraph) -> dict[Variable, TensorVariable]:
    """Return the gradient of the data loss at every segment's output, of shape (R, *event)."""
    outputs: Sequence[Variable] = [segment.output for segment in segments_of(graph)]
    gradients = grads(at_current_values(graph.data_loss, graph.held), outputs)
    return {
        v: flatten_examples(g, graph.example_axes[v])
        for v, g in zip(outputs, gradients, strict=True)
    }
