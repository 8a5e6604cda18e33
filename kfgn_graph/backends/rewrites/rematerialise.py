"""What is computed again where it is read, and what is not, so that less has to be kept.

The slopes of a network's activations are read by the gradient and, where factors are due, by
theirs. If the branch makes them of the activations, which it reads anyway, the gradient's are no
arrays: they are fused with what reads them.

Of a batch's first rows it is the other way round: as a view, or where XLA takes them anew in each
Op that reads them, they would keep the whole array for the last one. And a gradient that has been
copied, to stand beside its bias's, is read there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytensor.compile.mode import optdb
from pytensor.compile.ops import view_op
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import GraphRewriter, dfs_rewriter, node_rewriter
from pytensor.graph.traversal import applys_between
from pytensor.scalar import basic as scalars
from pytensor.tensor.basic import Join
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.subtensor import Subtensor

from kfgn_graph.backends.rewrites.branch_conditions import Guards, guards_of, guards_of_nodes
from kfgn_graph.backends.rewrites.inverses import ShiftedSolve

#: The tag of the rewrite, for ``Mode.including``.
LESS_KEPT = "kfgn_less_kept"

#: The tags of what holds a batch's first rows: for Numba and C, where other rows are views and
#: cost nothing, and for JAX.
FEW_ROWS, SHARED_ROWS = "kfgn_few_rows", "kfgn_shared_rows"

#: The tag of what reads a gradient where it is joined: for Numba. C has its peak elsewhere.
READ_JOINED = "kfgn_read_joined"

#: After what merges nodes that are alike, and before branches are taken out of the graph.
BEFORE_BRANCHES = 48.85

#: What takes next to no time where its arguments have been read.
CHEAP = (scalars.Add, scalars.Sub, scalars.Mul, scalars.Sqr, scalars.Neg, scalars.Cast)


class Recompute(GraphRewriter):
    """Give guarded readers of a cheap array one of their own."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Replace every such array for the readers in each branch."""
        guards = guards_of_nodes(fgraph)
        for node in fgraph.toposort():
            for guard, readers in self._guarded(fgraph, node, guards).items():
                again = Again(fgraph, guards, guard)
                if again.is_cheap(node.outputs[0]):
                    new = again.computed(node.outputs[0])
                    for reader, index in readers:
                        fgraph.change_node_input(reader, index, new, reason=LESS_KEPT)

    def _guarded(
        self, fgraph: FunctionGraph, node: Apply, guards: Mapping[Apply, Guards]
    ) -> dict[Guards, list[tuple[Apply, int]]]:
        """Return the readers of a matrix that are needed more seldom than it, by their guards."""
        found: dict[Guards, list[tuple[Apply, int]]] = {}
        if is_simple(node) and node.outputs[0].type.ndim > 1:
            for reader, index in fgraph.clients[node.outputs[0]]:
                guard = guards_of(reader, index, guards)
                if guard != guards[node]:
                    found.setdefault(guard, []).append((reader, index))
        return found


class Again:
    """What the nodes behind a guard can compute again of what they read anyway.

    The guards of what is added are added to those of the graph's nodes.
    """

    def __init__(self, fgraph: FunctionGraph, guards: dict[Apply, Guards], guard: Guards) -> None:
        self._fgraph, self._guards, self._guard = fgraph, guards, guard

    def is_cheap(self, v: Variable) -> bool:
        """Return whether a variable is made of such by arithmetic."""
        node = v.owner
        return (
            node is not None
            and is_simple(node)
            and all(self._is_at_hand(u) or self.is_cheap(u) for u in node.inputs)
        )

    def _is_at_hand(self, v: Variable) -> bool:
        """Return whether a variable is a number, or read behind the guard anyway."""
        if is_number(v):
            return True
        readers = self._fgraph.clients[v]
        return any(self._guard <= guards_of(r, i, self._guards) for r, i in readers)

    def computed(self, v: Variable) -> Variable:
        """Return the variable, computed again.

        Of views, since elementwise Ops that read the same array would be fused to one.
        """
        inputs = [
            u if is_number(u) else self._view(u) if self._is_at_hand(u) else self.computed(u)
            for u in v.owner.inputs
        ]
        return self._added(v.owner.clone_with_new_inputs(inputs).outputs[0])

    def _view(self, v: Variable) -> Variable:
        return self._added(view_op(v))

    def _added(self, v: Variable) -> Variable:
        self._guards[v.owner] = self._guard
        return v


def is_number(v: Variable) -> bool:
    """Return whether a variable is a constant, or a single number."""
    return isinstance(v, Constant) or all(v.type.broadcastable)


def is_simple(node: Apply) -> bool:
    """Return whether a node is a transposition, or cheap arithmetic entry by entry."""
    arithmetic = isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, CHEAP)
    return arithmetic or isinstance(node.op, DimShuffle)


class Held(Op):
    """An array of its own with the same numbers, made once for all that read it."""

    __props__ = ()

    def make_node(self, x: Variable) -> Apply:
        """Return the node."""
        return Apply(self, [x], [x.type()])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        """Copy it."""
        outputs[0][0] = inputs[0].copy()


def readers_of_rows(fgraph: FunctionGraph, node: Apply) -> list[Op]:
    """Return what reads an array's first rows, unless they are held already."""
    out = node.outputs[0]
    readers = [reader.op for reader, _ in fgraph.clients[out]]
    prefix = [isinstance(i, slice) and i.start is i.step is None for i in node.op.idx_list]
    wanted = prefix == [True] and out.type.ndim > 1 and Held not in map(type, readers)
    return readers if wanted else []


@node_rewriter([Subtensor])
def few_rows(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Hold an array's first rows, unless they are known to be most of it."""
    if not readers_of_rows(fgraph, node):
        return None
    rows, taken = node.inputs[0].type.shape[0], node.outputs[0].type.shape[0]
    few = rows is None or taken is None or 2 * taken <= rows
    return [Held()(node.op(*node.inputs))] if few else None


@node_rewriter([Subtensor])
def shared_rows(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Hold an array's first rows that are read more than once."""
    return [Held()(node.op(*node.inputs))] if len(readers_of_rows(fgraph, node)) > 1 else None


class ReadJoined(GraphRewriter):
    """Let what reads a matrix read it where it has been joined to further rows, a copy of it.

    Not where the copy has another type, nor where a solution takes its memory.
    """

    def apply(self, fgraph: FunctionGraph) -> None:
        """Replace the first part for all that need it where it is joined."""
        guards = guards_of_nodes(fgraph)
        for node in fgraph.toposort():
            view = copied_part(fgraph, node)
            if view is not None:
                before = {*applys_between([], node.inputs), node}
                for reader, index in list(fgraph.clients[node.inputs[0]]):
                    needed = guards[node] <= guards_of(reader, index, guards)
                    if needed and reader not in before:
                        fgraph.change_node_input(reader, index, view, reason=READ_JOINED)


def copied_part(fgraph: FunctionGraph, node: Apply) -> Variable | None:
    """Return the rows of a join that are a computed matrix, its first part, and stay so."""
    if not isinstance(node.op, Join) or node.op.axis != 0 or node.outputs[0].type.ndim != 2:
        return None
    part, out = node.inputs[0], node.outputs[0]
    if part.owner is None or part.type.shape[0] is None or len(fgraph.clients[part]) < 2:
        return None
    view = out[: part.type.shape[0]]
    taken = any(isinstance(reader.op, ShiftedSolve) for reader, _ in fgraph.clients[out])
    return view if part.type.is_super(view.type) and not taken else None


optdb.register(FEW_ROWS, dfs_rewriter(few_rows), position=BEFORE_BRANCHES)
optdb.register(SHARED_ROWS, dfs_rewriter(shared_rows), position=BEFORE_BRANCHES)
optdb.register(READ_JOINED, ReadJoined(), position=BEFORE_BRANCHES)
optdb.register("kfgn_recomputed", Recompute(), LESS_KEPT, position=BEFORE_BRANCHES)
