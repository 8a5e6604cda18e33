"""Descriptions of variables, Apply nodes and paths, for errors and reports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytensor
from pytensor.graph.basic import Apply, Variable

#: The folders of this package and of PyTensor, in which no line is the user's.
PACKAGES = (Path(__file__).parent, Path(pytensor.__file__).parent)


def printable(name: str | None) -> str | None:
    """Return a name with escapes for what cannot be written into generated source code."""
    return name if name is None or name.isprintable() else ascii(name)[1:-1]


def name_of(variable: Variable) -> str:
    """Return the name of a variable or, if it has none, the Op that computes it."""
    if variable.name:
        return f"'{variable.name}'"
    if variable.owner is not None:
        return f"the result of {variable.owner.op}"
    return f"an unnamed variable of type {variable.type}"


def created_at(variable: Variable) -> str:
    """Return ``' (created at FILE:LINE)'``, the user's line, or ``''`` if it is unknown."""
    stacks = getattr(variable.tag, "trace", None) or []
    for stack in reversed(stacks):
        for frame in reversed(stack):
            if any(Path(frame[0]).is_relative_to(package) for package in PACKAGES):
                continue
            return f" (created at {frame[0]}:{frame[1]})"
    return ""


def describe(variable: Variable) -> str:
    """Return the name of a variable and, if known, the line that created it."""
    return name_of(variable) + created_at(variable)


def describe_path(nodes: Iterable[Apply]) -> str:
    """Return ``Op -> Op -> ...`` for a path of Apply nodes."""
    return " -> ".join(str(node.op) for node in nodes)


def names(variables: Iterable[Variable]) -> str:
    """Return the names of variables, separated by commas."""
    return ", ".join(name_of(v) for v in variables)
