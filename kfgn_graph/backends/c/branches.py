"""Lazy conditionals of PyTensor's virtual machine: no needless evaluation, no needless copy.

The virtual machine evaluates an in-place Op after all other clients of the variable that it
overwrites. If one of these clients belongs to a lazy branch, that branch is evaluated in every
call, even if it is not taken. :data:`KEEP_LAZY` forbids such in-place Ops.

A conditional copies the value of the branch that it takes. :data:`ALIAS_BRANCHES` leaves the copy
out if the value only replaces a shared variable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from pytensor.compile.mode import optdb
from pytensor.conditional.op import IfElse
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.features import Feature
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.graph.utils import InconsistencyError

from kfgn_graph.backends.rewrites.accumulation import LATE
from kfgn_graph.backends.rewrites.aliasing import Buffers, replacements_of
from kfgn_graph.backends.rewrites.branch_conditions import (
    conditions_of_clients,
    conditions_of_nodes,
)
from kfgn_graph.backends.rewrites.undeclared_in_place import (
    overwriter_of,
    undeclared_in_place,
)

#: The tags of the rewrites, for ``Mode.including``.
KEEP_LAZY, ALIAS_BRANCHES = "kfgn_keep_lazy", "kfgn_alias_branches"

#: Position: before all rewrites that make Ops work in place; ``LATE`` is after all of them.
BEFORE_IN_PLACE = 49.9


class AliasingIfElse(IfElse):
    """A conditional some of whose results are aliases of a branch's values, not copies.

    Parameters
    ----------
    n_outs, as_view
        As of :class:`~pytensor.conditional.op.IfElse`.
    aliased : tuple of int
        The results that alias their values where the second branch is taken.
    """

    __props__ = ("as_view", "n_outs", "aliased")

    def __init__(self, n_outs: int, as_view: bool, aliased: tuple[int, ...]) -> None:
        super().__init__(n_outs, as_view)
        self.aliased = aliased

    def make_thunk(
        self, node: Apply, storage_map: Any, compute_map: Any, no_recycling: Any, impl: Any = None
    ) -> Callable[[], list[int]]:
        """Return a thunk that requests the values of one branch before it returns them."""
        condition, computed = node.inputs[0], compute_map[node.inputs[0]]
        branches = node.inputs[1 : 1 + self.n_outs], node.inputs[1 + self.n_outs :]

        def thunk() -> list[int]:
            if not computed[0]:
                return [0]
            second = not storage_map[condition][0]
            branch = branches[second]
            missing = [k for k, v in enumerate(branch) if not compute_map[v][0]]
            if missing:
                return [1 + second * self.n_outs + k for k in missing]
            for k, (value, result) in enumerate(zip(branch, node.outputs, strict=True)):
                alias = k in self.aliased if second else self.as_view
                found = storage_map[value][0]
                storage_map[result][0] = found if alias else found.copy()
                compute_map[result][0] = 1
            return []

        thunk.lazy = True  # type: ignore[attr-defined]
        thunk.inputs = [storage_map[v] for v in node.inputs]  # type: ignore[attr-defined]
        thunk.outputs = [storage_map[v] for v in node.outputs]  # type: ignore[attr-defined]
        return thunk


class Protected(Feature):
    """Forbid in-place Ops to overwrite some variables.

    Parameters
    ----------
    protected : set of Variable
        The variables, and those that replace them.
    """

    def __init__(self, protected: set[Variable]) -> None:
        self._reasons = Counter(protected)

    def on_change_input(
        self, fgraph: Any, node: Apply, i: int, r: Variable, new_r: Variable, reason: Any = None
    ) -> None:
        """Protect the replacement of a protected variable, until the replacement is reverted."""
        if isinstance(reason, tuple) and reason[0] == "Revert":
            self._reasons[r] -= self._reasons[new_r] > 0
        else:
            self._reasons[new_r] += self._reasons[r] > 0

    def on_validate(self, fgraph: Any) -> None:
        """Raise if a protected variable is overwritten."""
        protected = [v for v, reasons in self._reasons.items() if reasons > 0]
        if hasattr(fgraph, "destroyers") and any(map(fgraph.destroyers, protected)):
            raise InconsistencyError(
                "a lazy branch would have to be evaluated before this variable is overwritten."
            )


class KeepLazy(GraphRewriter):
    """Forbid in-place Ops that would force the evaluation of lazy branches."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Protect the variables whose clients are evaluated under different conditions."""
        conditions = conditions_of_nodes(fgraph)
        computed = [v for node in fgraph.apply_nodes for v in node.outputs]
        protected = {
            v
            for v in [*fgraph.inputs, *computed]
            if len(set(conditions_of_clients(fgraph, v, conditions))) > 1
        }
        fgraph.attach_feature(Protected(protected))


class AliasBranches(GraphRewriter):
    """Leave out copies of values that only replace shared variables."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Replace the conditionals that make such copies."""
        buffers = Buffers(
            fgraph.toposort(), fgraph.inputs, fgraph.outputs, replacements_of(fgraph)
        )
        for node in [n for n in fgraph.apply_nodes if type(n.op) is IfElse]:
            second = node.inputs[1 + node.op.n_outs :]
            aliased = tuple(
                k for k, v in enumerate(second) if buffers.only_replaces(v, node.outputs[k])
            )
            for k in aliased:
                overwriter = overwriter_of(second[k], node.inputs[1 + k])
                # its clients are this conditional and the node that overwrites it
                if overwriter is not None and buffers.uses(second[k]) == 2:
                    new = undeclared_in_place(overwriter).outputs
                    pairs = list(zip(overwriter.outputs, new, strict=True))
                    fgraph.replace_all_validate(pairs, reason=ALIAS_BRANCHES)
            if aliased:
                self._replace(fgraph, node, aliased)

    def _replace(self, fgraph: FunctionGraph, node: Apply, aliased: tuple[int, ...]) -> None:
        op = AliasingIfElse(node.op.n_outs, node.op.as_view, aliased)
        results: list[Variable] = op(*node.inputs, return_list=True)
        pairs = list(zip(node.outputs, results, strict=True))
        fgraph.replace_all_validate(pairs, reason=ALIAS_BRANCHES)


optdb.register(KEEP_LAZY, KeepLazy(), position=BEFORE_IN_PLACE)
optdb.register(ALIAS_BRANCHES, AliasBranches(), position=LATE)
