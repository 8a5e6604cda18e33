"""Substitution of variables in a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytensor.graph.basic import Variable
from pytensor.graph.traversal import toposort


def substituted(v: Any, replacements: Mapping[Variable, Variable]) -> Any:
    """Return a variable with replacements for some of its ancestors, in linear time.

    Nodes that depend on none of the replaced variables are shared with the given graph. Nothing
    within a replacement is replaced. PyTensor's ``graph_replace`` copies the set of all variables
    at every replacement.

    Parameters
    ----------
    v : Variable
        The variable.
    replacements : mapping of Variable to Variable
        The new variables; the types of each pair agree.
    """
    new = dict(replacements)
    for node in toposort([v], blockers=replacements):
        if any(u in new for u in node.inputs):
            copied = node.clone_with_new_inputs([new.get(u, u) for u in node.inputs], strict=False)
            new.update(zip(node.outputs, copied.outputs, strict=True))
    return new.get(v, v)
