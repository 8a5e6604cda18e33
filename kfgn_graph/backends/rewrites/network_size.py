"""Rewrites for the graphs of large networks alone."""

from __future__ import annotations

from math import prod
from typing import Any

from pytensor.graph.fg import AbstractFunctionGraph, FunctionGraph
from pytensor.graph.rewriting.basic import WalkingGraphRewriter

#: Numbers in a graph's arguments up to which calls from Python take as long as computing.
SMALL = 250_000


def is_small(fgraph: AbstractFunctionGraph) -> bool:
    """Return whether a graph's arguments hold few numbers, as far as their shapes are known."""
    shapes = [getattr(v.type, "shape", ()) for v in fgraph.inputs]
    return sum(prod(n or 1 for n in shape) for shape in shapes) <= SMALL


class InLargeNetworks(WalkingGraphRewriter):
    """A rewrite node by node, of the graphs of large networks alone."""

    def apply(self, fgraph: FunctionGraph, start_from: Any = None) -> Any:
        """Rewrite a graph."""
        return None if is_small(fgraph) else super().apply(fgraph, start_from)
