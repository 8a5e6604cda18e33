"""In-place elementwise Ops, with fewer failed attempts than by PyTensor's rewrite.

PyTensor tries to overwrite each suitable operand and then validates the graph, which fails if the
order of evaluation has a cycle. There is a cycle whenever another client of the operand depends on
the result. Such candidates are dropped here before they are tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.tensor.rewriting.elemwise import InplaceElemwiseOptimizer

#: The tag of the rewrite, for ``Mode.including``, and the name of PyTensor's, which it replaces.
IN_PLACE, PYTENSOR_IN_PLACE = "kfgn_elementwise_in_place", "inplace_elemwise"


class ElementwiseInPlace(InplaceElemwiseOptimizer):
    """PyTensor's rewrite, with fewer candidates."""

    def filter_candidate_pairs(
        self, fgraph: FunctionGraph, node: Apply, protected_inputs: Sequence[Variable]
    ) -> list[Any]:
        """Return the pairs of a result and an operand that can be valid."""
        pairs = super().filter_candidate_pairs(fgraph, node, protected_inputs)
        later = descendants(fgraph, node) if pairs else set()
        return [
            (result, (i, argument))
            for result, (i, argument) in pairs
            if not any(
                client in later
                for alias in aliases(fgraph, argument)
                for client, _ in fgraph.clients[alias]
            )
        ]


def aliases(fgraph: FunctionGraph, variable: Variable) -> list[Variable]:
    """Return the variables that share a variable's memory, itself included."""
    views = fgraph.destroy_handler
    root = variable
    while root in views.view_i:
        root = views.view_i[root]
    found = [root]
    for alias in found:
        found += views.view_o.get(alias, ())
    return found


def descendants(fgraph: FunctionGraph, node: Apply) -> set[Apply]:
    """Return the nodes that depend on a node's results."""
    found: set[Apply] = set()
    waiting = [node]
    while waiting:
        for out in waiting.pop().outputs:
            new = {client for client, _ in fgraph.clients[out]} - found
            found |= new
            waiting += new
    return found


optdb.register(IN_PLACE, ElementwiseInPlace(), position=50.5)
