"""A graph as one Python function for Numba, lazy branches being branches of its code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

from pytensor import config
from pytensor.compile.ops import DeepCopyOp
from pytensor.conditional.op import LazyIfElse
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import AbstractFunctionGraph
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.link.numba.dispatch.basic import (
    cache_key_for_constant,
    numba_funcify_ensure_cache,
    numba_typify,
)

from kfgn_graph.backends.passing import Buffers, average_of, over_the_old, updates_of

INDENT = "    "


def program_of(fgraph: AbstractFunctionGraph, order: Sequence[Apply]) -> Callable[..., Any]:
    """Return a Python function of a graph's inputs that Numba can compile, marked for its cache.

    Where a function calls another, Numba links and optimises the other's code again. PyTensor has
    functions for a branch, for the choice of a branch and for the cache of either, so that the
    code of a branch would be compiled five times, and more often where branches are within it.

    Parameters
    ----------
    fgraph : FunctionGraph
        After rewriting.
    order : sequence of Apply
        Its nodes, as they are to be computed.
    """
    writer = Writer()
    names = Names(writer)
    arguments = [names[v] for v in fgraph.inputs]
    buffers = Buffers(order, fgraph.inputs, fgraph.outputs, updates_of(fgraph))
    writer.write(order, names, INDENT, buffers)
    results = "".join(f"{names[v]}, " for v in fgraph.outputs)
    lines = [f"def program({', '.join(arguments)}):", *writer.lines, f"{INDENT}return {results}"]
    source = "\n".join(lines)
    return compile_numba_function_src(
        source, "program", writer.values, cache_key=writer.cache_key(source)
    )


class Names(dict[Variable, str]):
    """Names of a graph's variables, each given when it is first asked for.

    A branch has names of its own, for its variables may be those of the graph around it, which
    there are others.
    """

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer

    def __missing__(self, variable: Variable) -> str:
        """Name a variable."""
        constant = isinstance(variable, Constant)
        name = self._writer.constant(variable) if constant else self._writer.new_name()
        self[variable] = name
        return name


class Writer:
    """Collects the statements of a program and what they refer to.

    Attributes
    ----------
    lines : list of str
        The statements.
    values : dict
        Functions and constants by their names.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.values: dict[str, Any] = {"__name__": __name__}
        self._keys: list[str | None] = []
        self._names = 0
        self._constants: dict[Variable, str] = {}
        self._functions: dict[Any, str] = {}
        self._memo: dict[Any, Any] = {}  # PyTensor's, of Ops that are graphs

    def cache_key(self, source: str) -> str | None:
        """Return what tells a program from all others, or None if it cannot be told."""
        if None in self._keys:
            return None
        parts = [source, *map(str, self._keys), f"fastmath {config.numba__fastmath}"]
        return sha256("\n".join(parts).encode()).hexdigest()

    def new_name(self) -> str:
        """Return a name that nothing has."""
        self._names += 1
        return f"v{self._names}"

    def constant(self, constant: Constant) -> str:
        """Return the name of a constant, the same wherever it is referred to."""
        if constant not in self._constants:
            data = numba_typify(constant.data, variable=constant)
            key = cache_key_for_constant(constant.data)
            self._constants[constant] = self._refer(data, key)
        return self._constants[constant]

    def _refer(self, value: Any, key: str | None) -> str:
        name = self.new_name()
        self.values[name] = value
        self._keys.append(key and f"{name} {key}")
        return name

    def write(
        self,
        nodes: Sequence[Apply],
        names: Names,
        margin: str,
        buffers: Buffers,
        in_place: Collection[Apply] = (),
    ) -> None:
        """Add the statements of nodes, averages among them perhaps over the old ones."""
        for node in nodes:
            if isinstance(node.op, LazyIfElse):
                self._write_branches(node, names, margin, buffers)
            else:
                computed = over_the_old(node) if node in in_place else node
                self._write_call(computed, node.outputs, names, margin)

    def _function(self, node: Apply) -> str:
        """Return the name of what computes a node: one for all nodes that are computed alike."""
        value, key = numba_funcify_ensure_cache(node.op, node=node, ofg_memo=self._memo)
        if key is None:
            return self._refer(value, None)
        # what Numba's cache goes by, but for the layouts of arrays, which it specialises for
        signature = (
            key,
            *[
                (type(v.type), v.type.dtype, getattr(v.type, "ndim", 0))
                for v in [*node.inputs, *node.outputs]
                if hasattr(v.type, "dtype")
            ],
        )
        if signature not in self._functions:
            self._functions[signature] = self._refer(value, key)
        return self._functions[signature]

    def _write_call(
        self, node: Apply, outputs: Sequence[Variable], names: Names, margin: str
    ) -> None:
        function = self._function(node)
        arguments = ", ".join(names[v] for v in node.inputs)
        results = ", ".join(names[v] for v in outputs)
        self.lines.append(f"{margin}{results} = {function}({arguments})")

    def _write_branches(self, node: Apply, names: Names, margin: str, buffers: Buffers) -> None:
        condition, *arguments = node.inputs
        results = ", ".join(names[v] for v in node.outputs)
        within = margin + INDENT
        branches = node.op.true_branch.fgraph, node.op.false_branch.fgraph
        copies = [passed_on(node, branch, buffers) for branch in branches]
        averages = averages_in_place(node, copies[1], buffers)
        lines = f"if {names[condition]}:", "else:"
        for line, branch, passed in zip(lines, branches, copies, strict=True):
            inner = Names(self)
            inner.update(zip(branch.inputs, (names[v] for v in arguments), strict=True))
            inner.update({copy: inner[v] for copy, v in passed.items()})
            self.lines.append(margin + line)
            order = [n for n in branch.toposort() if n.outputs[0] not in passed]
            within_branch = Buffers(order, branch.inputs, branch.outputs, {})
            self.write(order, inner, within, within_branch, averages)
            values = ", ".join(inner[v] for v in branch.outputs)
            self.lines.append(f"{within}{results} = {values}")


def averages_in_place(
    node: Apply, passed: Mapping[Variable, Variable], buffers: Buffers
) -> set[Apply]:
    """Return the averages in a choice's first branch that may be written over the old ones.

    Where the second branch passes the old one on, the result replaces it, and no other reads it.

    Parameters
    ----------
    node : Apply
        Of the choice between branches.
    passed : mapping of Variable to Variable
        What the second branch passes on, by :func:`passed_on`.
    buffers : Buffers
        Of the graph around the choice.
    """
    first, second = node.op.true_branch.fgraph, node.op.false_branch.fgraph
    found = set()
    for result, copy in zip(first.outputs, second.outputs, strict=True):
        if copy in passed:
            place = second.inputs.index(passed[copy])
            old, average = first.inputs[place], average_of(first.inputs[place], result)
            reads = buffers.reads(node.inputs[1 + place])
            if average is not None and reads == 1 == len(first.clients[old]):
                found.add(average)
    return found


def passed_on(
    node: Apply, branch: AbstractFunctionGraph, buffers: Buffers
) -> dict[Variable, Variable]:
    """Return the copies of its own inputs that a branch returns and nobody would miss.

    Parameters
    ----------
    node : Apply
        Of the choice between branches.
    branch : FunctionGraph
        One of them.
    buffers : Buffers
        Of the graph around the choice.

    Returns
    -------
    dict
        Copies in the branch to the inputs of the branch.
    """
    arguments = dict(zip(branch.inputs, node.inputs[1:], strict=True))
    copies = [
        (result, copy, copy.owner.inputs[0])
        for result, copy in zip(node.outputs, branch.outputs, strict=True)
        if copy.owner is not None and isinstance(copy.owner.op, DeepCopyOp)
    ]
    returned = Counter(v for _, _, v in copies)
    return {
        copy: v
        for result, copy, v in copies
        if v in arguments
        and returned[v] == 1
        and (buffers.replaced(arguments[v], result) or buffers.handed_over(arguments[v], node))
    }
