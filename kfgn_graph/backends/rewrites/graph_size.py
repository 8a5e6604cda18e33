"""Rewrites that are applied to large graphs only."""

from __future__ import annotations

from math import prod
from typing import Any

from pytensor.graph.fg import AbstractFunctionGraph, FunctionGraph
from pytensor.graph.rewriting.basic import WalkingGraphRewriter

#: Number of entries of all inputs up to which a call from Python takes as long as the evaluation
#: of a node.
SMALL = 250_000


def is_small(fgraph: AbstractFunctionGraph) -> bool:
    """Return whether the inputs have few entries; an unknown length counts as one."""
    shapes = [getattr(v.type, "shape", ()) for v in fgraph.inputs]
    return sum(prod(n or 1 for n in shape) for shape in shapes) <= SMALL


class LargeGraphRewriter(WalkingGraphRewriter):
    """A rewriter that visits each node of a large graph and leaves a small one unchanged."""

    def apply(self, fgraph: FunctionGraph, start_from: Any = None) -> Any:
        """Rewrite a graph."""
        return None if is_small(fgraph) else super().apply(fgraph, start_from)
