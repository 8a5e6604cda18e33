"""The reverse sweeps that carry curvature from the output to every pre-activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytensor.gradient import grad
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.jacobians import LocalJacobian, Segment, local_jacobian
from kfgn_graph.jacobians.core import flatten_examples, product
from kfgn_graph.layers.graph import Layer, LayerGraph
from kfgn_graph.layers.traversal import clients_of, dependents, nodes_between

#: Curvature at each layer's pre-activation.
PerLayer = dict[Layer, TensorVariable]


def segments_of(graph: LayerGraph) -> list[Segment]:
    """Cut the network, from pre-activations to output, into segments in forward order.

    A composition of elementwise Ops is one segment, cut only where a value is also read by
    another kind of Op.
    """
    starts = [layer.preactivation for layer in graph.layers]
    varying = dependents([graph.output], starts)
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
    if v is graph.output or v.owner is None or not isinstance(v.owner.op, Elemwise):
        return True
    return any(not isinstance(client.op, Elemwise) for client, _ in clients.get(v, []))


def _leaves(
    node: Apply, boundary: set[Variable], varying: dict[Variable, None]
) -> tuple[TensorVariable, ...]:
    """Return the varying boundary variables that a segment ending at ``node`` reads."""
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


def output_message(graph: LayerGraph, columns: TensorVariable) -> TensorVariable:
    """Flatten columns (K, *z.shape) at the output to a message (K, R, *event)."""
    axes = graph.example_axes[graph.output]
    if axes == 1:
        return columns
    event = [columns.shape[k] for k in range(1 + axes, columns.type.ndim)]
    return columns.reshape((columns.shape[0], -1, *event))


def sweep_square_root(graph: LayerGraph, columns: TensorVariable) -> PerLayer:
    """Carry columns of the square root from the output to every layer.

    Parameters
    ----------
    graph : LayerGraph
        The network.
    columns : TensorVariable
        Columns at the output, of shape (K, *z.shape).

    Returns
    -------
    dict
        For each layer, columns at its pre-activation, of shape (K, R, *event). Where paths
        meet, their messages add, so that this is exact for any network.
    """
    messages: dict[Variable, TensorVariable] = {graph.output: output_message(graph, columns)}
    for segment in reversed(segments_of(graph)):
        if segment.output not in messages:
            continue
        jacobian = local_jacobian(segment.node.op, segment)
        pulled = equations.propagate_square_root(
            jacobian.transpose_apply, messages[segment.output]
        )
        for u, C in zip(segment.inputs, pulled, strict=True):
            messages[u] = messages[u] + C if u in messages else C
    return {layer: messages[layer.preactivation] for layer in graph.layers}


@dataclass(frozen=True)
class BlockAlgebra:
    """How blocks of joint curvature pass a segment: expected (KFRA), or per example (exact).

    Attributes
    ----------
    one_sided : callable
        (jacobian, M) to [J_i^T M for each input i].
    two_sided : callable
        (jacobian, G) to [[J_i^T G J_j for j >= i] for i], with any second-order term.
    """

    one_sided: Callable[[LocalJacobian, TensorVariable], list[TensorVariable]]
    two_sided: Callable[[LocalJacobian, TensorVariable], list[list[TensorVariable]]]


class LiveCut:
    """The joint curvature over the variables that are live at a cut of the network.

    Blocks are kept for unordered pairs of variables; all that lies between a pair of
    branches is in their cross block, so that a residual sum is exact wherever a chain is.
    """

    def __init__(self, output: Variable, curvature: TensorVariable) -> None:
        self._blocks: dict[tuple[Variable, Variable], TensorVariable] = {
            (output, output): curvature
        }

    def __contains__(self, v: Variable) -> bool:
        return (v, v) in self._blocks

    def pop_diagonal(self, v: Variable) -> TensorVariable:
        """Take out the block of v with itself."""
        return self._blocks.pop((v, v))

    def pop_cross(self, v: Variable) -> list[tuple[Variable, TensorVariable]]:
        """Take out the blocks of v with every other live variable w, rows belonging to v."""
        taken = []
        for pair in [pair for pair in self._blocks if v in pair]:
            block = self._blocks.pop(pair)
            taken.append((pair[1], block) if pair[0] is v else (pair[0], block.mT))
        return taken

    def add(self, u: Variable, w: Variable, block: TensorVariable) -> None:
        """Add the block of (u, w), rows belonging to u, and with it that of (w, u)."""
        if u is w:
            self._accumulate((u, u), block + block.mT)
        elif (w, u) in self._blocks:
            self._accumulate((w, u), block.mT)
        else:
            self._accumulate((u, w), block)

    def add_diagonal(self, u: Variable, block: TensorVariable) -> None:
        """Add to the block of u with itself."""
        self._accumulate((u, u), block)

    def _accumulate(self, pair: tuple[Variable, Variable], block: TensorVariable) -> None:
        self._blocks[pair] = self._blocks[pair] + block if pair in self._blocks else block


def sweep_joint(graph: LayerGraph, curvature: TensorVariable, algebra: BlockAlgebra) -> PerLayer:
    """Carry the joint curvature of the live cut from the output to every layer.

    Parameters
    ----------
    graph : LayerGraph
        The network.
    curvature : TensorVariable
        At the output: (D, D) or (R, D, D), as ``algebra`` wants.
    algebra : BlockAlgebra
        How blocks pass a segment.

    Returns
    -------
    dict
        For each layer, the block of its pre-activation, of the same form.
    """
    cut = LiveCut(graph.output, curvature)
    wanted = {layer.preactivation: layer for layer in graph.layers}
    found: PerLayer = {}
    for segment in reversed(segments_of(graph)):
        v = segment.output
        if v not in cut:
            continue
        jacobian = local_jacobian(segment.node.op, segment)
        own = cut.pop_diagonal(v)
        if v in wanted:
            found[wanted[v]] = own
        for w, block in cut.pop_cross(v):
            for u, pulled in zip(segment.inputs, algebra.one_sided(jacobian, block), strict=True):
                cut.add(u, w, pulled)
        for i, row in enumerate(algebra.two_sided(jacobian, own)):
            for j, block in enumerate(row, start=i):
                if i == j:
                    cut.add_diagonal(segment.inputs[i], block)
                else:
                    cut.add(segment.inputs[i], segment.inputs[j], block)
    for v, layer in wanted.items():
        if layer not in found:
            found[layer] = cut.pop_diagonal(v)
    return {layer: found[layer] for layer in graph.layers}


def _mean_transpose_apply(jacobian: LocalJacobian, M: TensorVariable) -> list[TensorVariable]:
    return jacobian.mean_transpose_apply(M)


def _mean_congruence(jacobian: LocalJacobian, G: TensorVariable) -> list[list[TensorVariable]]:
    return jacobian.mean_congruence(G)


#: KFRA's algebra, on blocks (D, D).
EXPECTED = BlockAlgebra(_mean_transpose_apply, _mean_congruence)


def per_example_algebra(gradients: dict[Variable, TensorVariable] | None) -> BlockAlgebra:
    """Return the exact algebra on blocks (R, D, D).

    Parameters
    ----------
    gradients : dict or None
        The loss's gradient at every segment's output, as (R, *event), to add the
        second-order term of Eq. (8); None to leave it out, as in Eq. (22).
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
    """Return X -> J_i^T X per example, on (R, D_v, m), by the column verb."""
    segment = jacobian.segment

    def apply(X: TensorVariable) -> TensorVariable:
        columns = X.dimshuffle(2, 0, 1).reshape((X.shape[2], X.shape[0], *segment.event()))
        pulled = jacobian.transpose_apply(columns)[index]
        flat = pulled.reshape((X.shape[2], X.shape[0], product(segment.event(index))))
        return flat.dimshuffle(1, 2, 0)

    return apply


def output_gradients(graph: LayerGraph) -> dict[Variable, TensorVariable]:
    """Return the data loss's gradient at every segment's output, as (R, *event)."""
    outputs: Sequence[Variable] = [segment.output for segment in segments_of(graph)]
    gradients = grad(graph.data_loss, list(outputs))
    return {
        v: flatten_examples(g, graph.example_axes[v])
        for v, g in zip(outputs, gradients, strict=True)
    }
