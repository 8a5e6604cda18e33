"""Conditionals of C that pass on what is not due, where PyTensor's copy it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytensor.compile.mode import optdb
from pytensor.conditional.op import IfElse
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter

from kfgn_graph.backends.passing import Buffers, updates_of

#: The rewrite's name, for ``Mode.including``.
PASSED_ON = "kfgn_passed_on"

#: After all that decides what is written where.
LATE = 99.0


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

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and self.passed == other.passed  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.passed))

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


class PassOn(GraphRewriter):
    """Let conditionals pass on state that is not due, where nobody would notice."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Replace each conditional for which that is so."""
        buffers = Buffers(fgraph.toposort(), fgraph.inputs, fgraph.outputs, updates_of(fgraph))
        for node in [n for n in fgraph.apply_nodes if type(n.op) is IfElse]:
            second = node.inputs[1 + node.op.n_outs :]
            passed = tuple(k for k, v in enumerate(second) if buffers.replaced(v, node.outputs[k]))
            if passed:
                self._replace(fgraph, node, passed)

    def _replace(self, fgraph: FunctionGraph, node: Apply, passed: tuple[int, ...]) -> None:
        op = PassingIfElse(node.op.n_outs, node.op.as_view, passed)
        results: list[Variable] = op(*node.inputs, return_list=True)
        pairs = list(zip(node.outputs, results, strict=True))
        fgraph.replace_all_validate(pairs, reason=PASSED_ON)


optdb.register(PASSED_ON, PassOn(), position=LATE)
