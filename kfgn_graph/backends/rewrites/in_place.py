"""Elementwise Ops that write into what they read, found without trying what cannot be.

PyTensor tries each argument that might be written into, and looks for a cycle in the order of the
whole graph: it has to find one where something reads the argument that needs the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.tensor.rewriting.elemwise import InplaceElemwiseOptimizer

#: The tag of the rewrite, for ``Mode.including``; it takes the place of PyTensor's.
IN_PLACE, PYTENSORS = "kfgn_elementwise_in_place", "inplace_elemwise"


class ElementwiseInPlace(InplaceElemwiseOptimizer):
    """PyTensor's rewrite, with fewer pairs of a result and an argument to try."""

    def filter_candidate_pairs(
        self, fgraph: FunctionGraph, node: Apply, protected_inputs: Sequence[Variable]
    ) -> list[Any]:
        """Return the pairs of which no argument is read by what needs the node's results."""
        pairs = super().filter_candidate_pairs(fgraph, node, protected_inputs)
        later = descendants(fgraph, node) if pairs else set()
        return [
            (result, (i, argument))
            for result, (i, argument) in pairs
            if not any(
                reader in later
                for alias in aliases(fgraph, argument)
                for reader, _ in fgraph.clients[alias]
            )
        ]


def aliases(fgraph: FunctionGraph, variable: Variable) -> list[Variable]:
    """Return what shares a variable's memory, itself included."""
    views = fgraph.destroy_handler
    root = variable
    while root in views.view_i:
        root = views.view_i[root]
    found = [root]
    for alias in found:
        found += views.view_o.get(alias, ())
    return found


def descendants(fgraph: FunctionGraph, node: Apply) -> set[Apply]:
    """Return what needs a node's results."""
    found: set[Apply] = set()
    waiting = [node]
    while waiting:
        for out in waiting.pop().outputs:
            new = {reader for reader, _ in fgraph.clients[out]} - found
            found |= new
            waiting += new
    return found


optdb.register(IN_PLACE, ElementwiseInPlace(), position=50.5)
