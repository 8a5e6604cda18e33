"""Conditionals of C: what is not due is passed on without a copy, and truly not computed.

PyTensor's virtual machine computes what is asked for, and before an Op that writes into its
argument all else that reads it. Where that is a branch, the branch is computed at every call.
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
from kfgn_graph.backends.rewrites.aliasing import Buffers, updates_of
from kfgn_graph.backends.rewrites.averages import average_of, over_the_old
from kfgn_graph.backends.rewrites.branch_conditions import guards_of_nodes, guards_of_readers

#: The rewrites' names, for ``Mode.including``.
KEPT_LAZY, PASSED_ON = "kfgn_kept_lazy", "kfgn_passed_on"

#: Before all that decides what is written where; what comes after that is ``LATE``.
EARLY = 49.9


class PassingIfElse(IfElse):
    """A conditional that returns some values of its branches themselves, not copies.

    Parameters
    ----------
    n_outs, as_view
        As PyTensor's has them.
    passed : tuple of int
        Which results of the second branch are passed on.
    """

    __props__ = ("as_view", "n_outs", "passed")

    def __init__(self, n_outs: int, as_view: bool, passed: tuple[int, ...]) -> None:
        super().__init__(n_outs, as_view)
        self.passed = passed

    def make_thunk(
        self, node: Apply, storage_map: Any, compute_map: Any, no_recycling: Any, impl: Any = None
    ) -> Callable[[], list[int]]:
        """Return what computes the node, asking for a branch's values before."""
        condition, computed = node.inputs[0], compute_map[node.inputs[0]]
        branches = node.inputs[1 : 1 + self.n_outs], node.inputs[1 + self.n_outs :]

        def thunk() -> list[int]:
            if not computed[0]:
                return [0]
            second = not storage_map[condition][0]
            branch = branches[second]
            wanted = [k for k, v in enumerate(branch) if not compute_map[v][0]]
            if wanted:
                return [1 + second * self.n_outs + k for k in wanted]
            for k, (value, result) in enumerate(zip(branch, node.outputs, strict=True)):
                alike = k in self.passed if second else self.as_view
                found = storage_map[value][0]
                storage_map[result][0] = found if alike else found.copy()
                compute_map[result][0] = 1
            return []

        thunk.lazy = True  # type: ignore[attr-defined]
        thunk.inputs = [storage_map[v] for v in node.inputs]  # type: ignore[attr-defined]
        thunk.outputs = [storage_map[v] for v in node.outputs]  # type: ignore[attr-defined]
        return thunk


class Unwritten(Feature):
    """Refuses that what some readers need under other conditions than others is written into."""

    def __init__(self, protected: set[Variable]) -> None:
        self._reasons = Counter(protected)

    def on_change_input(
        self, fgraph: Any, node: Apply, i: int, r: Variable, new_r: Variable, reason: Any = None
    ) -> None:
        """Protect what takes the place of something protected, until that is taken back."""
        if isinstance(reason, tuple) and reason[0] == "Revert":
            self._reasons[r] -= self._reasons[new_r] > 0
        else:
            self._reasons[new_r] += self._reasons[r] > 0

    def on_validate(self, fgraph: Any) -> None:
        """Raise if anything protected is written into."""
        protected = [v for v, reasons in self._reasons.items() if reasons > 0]
        if hasattr(fgraph, "destroyers") and any(map(fgraph.destroyers, protected)):
            raise InconsistencyError(
                "A lazy branch would be computed before this is written into."
            )


class KeepLazy(GraphRewriter):
    """Keep from being written into what the branches of conditionals read."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Protect each variable whose readers are computed under different conditions."""
        guards = guards_of_nodes(fgraph)
        computed = [v for node in fgraph.apply_nodes for v in node.outputs]
        protected = {
            v
            for v in [*fgraph.inputs, *computed]
            if len(set(guards_of_readers(fgraph, v, guards))) > 1
        }
        fgraph.attach_feature(Unwritten(protected))


class PassOn(GraphRewriter):
    """Let conditionals pass on state that is not due, where nobody would notice."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Replace each conditional for which that is so."""
        buffers = Buffers(fgraph.toposort(), fgraph.inputs, fgraph.outputs, updates_of(fgraph))
        for node in [n for n in fgraph.apply_nodes if type(n.op) is IfElse]:
            second = node.inputs[1 + node.op.n_outs :]
            passed = tuple(k for k, v in enumerate(second) if buffers.replaced(v, node.outputs[k]))
            for k in passed:
                average = average_of(second[k], node.inputs[1 + k])
                # the conditional and the average read the old one, and nobody else
                if average is not None and buffers.reads(second[k]) == 2:
                    pairs = zip(average.outputs, over_the_old(average).outputs, strict=True)
                    fgraph.replace_all_validate(list(pairs), reason=PASSED_ON)
            if passed:
                self._replace(fgraph, node, passed)

    def _replace(self, fgraph: FunctionGraph, node: Apply, passed: tuple[int, ...]) -> None:
        op = PassingIfElse(node.op.n_outs, node.op.as_view, passed)
        results: list[Variable] = op(*node.inputs, return_list=True)
        pairs = list(zip(node.outputs, results, strict=True))
        fgraph.replace_all_validate(pairs, reason=PASSED_ON)


optdb.register(KEPT_LAZY, KeepLazy(), position=EARLY)
optdb.register(PASSED_ON, PassOn(), position=LATE)
