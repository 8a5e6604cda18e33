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

from pytensor.compile.mode import optdb
from pytensor.compile.ops import view_op
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.scalar import basic as scalars
from pytensor.tensor.elemwise import DimShuffle, Elemwise

from kfgn_graph.backends.rewrites.branch_conditions import Guards, guards_of, guards_of_nodes

#: The tag of the rewrite, for ``Mode.including``.
LESS_KEPT = "kfgn_less_kept"


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


optdb.register("kfgn_recomputed", Recompute(), LESS_KEPT, position=BEFORE_BRANCHES)
