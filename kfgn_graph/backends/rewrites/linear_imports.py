"""Imports of new nodes into a graph, in time that does not depend on the size of the graph.

PyTensor copies the set of all variables of a graph whenever a rewrite adds a node to it. The time
of rewriting then grows with the square of the depth of the network.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, AtomicVariable, Variable
from pytensor.graph.features import Feature
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter

#: The tag of the rewrites, for ``Mode.including``.
LINEAR_IMPORTS = "kfgn_linear_imports"

#: Positions: before and after every other rewrite.
BEFORE_ALL, AFTER_ALL = -2.0, 1000.0


class LinearImports(Feature):
    """Gives a graph an ``import_node`` that visits only new nodes."""

    def on_attach(self, fgraph: FunctionGraph) -> None:
        """Replace the method of one graph."""
        fgraph.import_node = partial(import_node, fgraph)

    def on_detach(self, fgraph: FunctionGraph) -> None:
        """Restore the method of the class."""
        del fgraph.import_node

    def clone(self) -> LinearImports:
        """Return a feature for another graph."""
        return LinearImports()


def import_node(
    fgraph: FunctionGraph,
    node: Apply,
    check: bool = True,
    reason: Any = None,
    import_missing: bool = False,
) -> None:
    """Import a node and those of its ancestors that a graph lacks, in topological order.

    Parameters
    ----------
    fgraph : FunctionGraph
        The graph.
    node : Apply
        The node.
    check, reason, import_missing
        As in ``FunctionGraph.import_node``, which handles inputs that the graph lacks.
    """
    known = fgraph.variables
    added = new_nodes(node.outputs, known)
    if any(is_unknown_root(v, known) for new in added for v in new.inputs):
        FunctionGraph.import_node(fgraph, node, check, reason, import_missing)
        return
    for new in added:
        fgraph.apply_nodes.add(new)
        new.tag.imported_by = [*getattr(new.tag, "imported_by", ()), str(reason)]
        for v in new.outputs:
            known.add(v)
            fgraph.clients.setdefault(v, [])
        for i, v in enumerate(new.inputs):
            known.add(v)
            fgraph.clients.setdefault(v, []).append((new, i))
        fgraph.execute_callbacks("on_import", new, reason)


def new_nodes(outputs: Sequence[Variable], known: Collection[Variable]) -> list[Apply]:
    """Return the nodes that compute ``outputs`` from known variables, in topological order."""
    found: dict[Apply, None] = {}
    pending = [v.owner for v in outputs if v not in known]
    while pending:
        node = pending[-1]
        missing = [
            v.owner
            for v in node.inputs
            if v.owner is not None and v not in known and v.owner not in found
        ]
        if missing:
            pending += missing
        else:
            found[pending.pop()] = None
    return list(found)


def is_unknown_root(v: Variable, known: Collection[Variable]) -> bool:
    """Return whether a variable is an input that a graph lacks."""
    return v.owner is None and v not in known and not isinstance(v, AtomicVariable)


class Attach(GraphRewriter):
    """Attach the feature to a graph."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Attach it."""
        fgraph.attach_feature(LinearImports())


class Detach(GraphRewriter):
    """Remove the feature from a graph."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Remove it."""
        for feature in [f for f in fgraph._features if isinstance(f, LinearImports)]:
            fgraph.remove_feature(feature)


optdb.register("kfgn_attach_linear_imports", Attach(), LINEAR_IMPORTS, position=BEFORE_ALL)
optdb.register("kfgn_detach_linear_imports", Detach(), LINEAR_IMPORTS, position=AFTER_ALL)
