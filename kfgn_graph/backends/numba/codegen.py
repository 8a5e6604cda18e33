"""Python source of a function that evaluates a graph: calls of kernels, and ``if`` statements."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from pytensor import config
from pytensor.conditional.op import LazyIfElse
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import AbstractFunctionGraph
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.link.numba.dispatch.basic import (
    cache_key_for_constant,
    numba_funcify_ensure_cache,
    numba_njit,
    numba_typify,
)

from kfgn_graph.backends.numba.kernels import kernel_of
from kfgn_graph.backends.rewrites.aliasing import Buffers, replacements_of, unneeded_copies
from kfgn_graph.backends.rewrites.graph_size import is_small
from kfgn_graph.backends.rewrites.undeclared_in_place import safe_overwriters, undeclared_in_place

INDENT = "    "


def function_of(fgraph: AbstractFunctionGraph, order: Sequence[Apply]) -> Callable[..., Any]:
    """Return a function of a graph's inputs that calls a kernel for each node.

    For a large graph it is a Python function. For a small graph, where calls from Python would
    take most of the time, Numba compiles the function with its kernels, which takes longer and has
    to be done for each graph.

    Parameters
    ----------
    fgraph : FunctionGraph
        The rewritten graph.
    order : sequence of Apply
        Its nodes in the order of evaluation.
    """
    writer = JittedWriter() if is_small(fgraph) else Writer()
    names = Names(writer)
    arguments = [names[v] for v in fgraph.inputs]
    buffers = Buffers(order, fgraph.inputs, fgraph.outputs, replacements_of(fgraph))
    kept = {*fgraph.inputs, *fgraph.outputs}
    writer.write(order, names, INDENT, buffers, kept)
    results = "".join(f"{names[v]}, " for v in fgraph.outputs)
    head = f"def program({', '.join(arguments)}):"
    return writer.compiled("\n".join([head, *writer.lines, f"{INDENT}return {results}"]))


class Names(dict[Variable, str]):
    """Names of a graph's variables; a variable is named when it is first looked up.

    Each branch has its own names, because a variable may belong to the graph of a branch and to
    the graph around it, with different values.
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
    """Collects the statements of a function and the values that they refer to.

    Attributes
    ----------
    lines : list of str
        The statements.
    values : dict
        Kernels and constants by name.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.values: dict[str, Any] = {}
        self._names = 0
        self._constants: dict[Variable, str] = {}
        self._functions: dict[Any, str] = {}
        self._memo: dict[Any, Any] = {}  # PyTensor's memo of Ops that contain graphs

    def compiled(self, source: str) -> Callable[..., Any]:
        """Return the function ``program`` that the source defines."""
        exec(source, self.values)
        program: Callable[..., Any] = np.errstate(all="ignore")(self.values["program"])
        return program

    def new_name(self) -> str:
        """Return an unused name."""
        self._names += 1
        return f"v{self._names}"

    def constant(self, constant: Constant) -> str:
        """Return the name of a constant, the same at each use."""
        if constant not in self._constants:
            data = numba_typify(constant.data, variable=constant)
            self._constants[constant] = self._refer(data, cache_key_for_constant(constant.data))
        return self._constants[constant]

    def _refer(self, value: Any, key: str | None) -> str:
        name = self.new_name()
        self.values[name] = value
        return name

    def write(
        self,
        nodes: Sequence[Apply],
        names: Names,
        margin: str,
        buffers: Buffers,
        kept: Collection[Variable],
        in_place: Collection[Apply] = (),
    ) -> None:
        """Append the statements of nodes, and ``del`` statements that free their inputs.

        Parameters
        ----------
        nodes : sequence of Apply
            The nodes, in the order of evaluation.
        names : Names
            The names of their variables.
        margin : str
            The indentation.
        buffers : Buffers
            Of the graph that holds the nodes.
        kept : collection of Variable
            The variables that are not freed after their last use.
        in_place : collection of Apply
            The nodes that work in place undeclared.
        """
        last = last_uses(nodes)
        for node in nodes:
            done = [v for v in last[node] if v not in kept]
            if isinstance(node.op, LazyIfElse):
                done = self._write_branches(node, names, margin, buffers, done)
            else:
                computed = undeclared_in_place(node) if node in in_place else node
                self._write_call(computed, node.outputs, names, margin)
            self._free((names[v] for v in done), margin)

    def _free(self, names: Iterable[str], margin: str) -> None:
        """Append a statement that frees variables."""
        freed = ", ".join(names)
        if freed:
            self.lines.append(f"{margin}del {freed}")

    def _kernel(self, node: Apply) -> tuple[Callable[..., Any], str | None]:
        """Return the function that evaluates a node, and its cache key if it has one."""
        return kernel_of(node, self._memo)

    def _function(self, node: Apply) -> str:
        """Return the name of the function that evaluates a node, shared by equal nodes."""
        value, key = self._kernel(node)
        if key is None:
            return self._refer(value, None)
        # Numba specialises a function further, for the layouts of its arguments
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

    def _write_branches(
        self,
        node: Apply,
        names: Names,
        margin: str,
        buffers: Buffers,
        done: Sequence[Variable],
    ) -> list[Variable]:
        """Append a lazy conditional, the last use of the variables ``done``.

        Its branches free these variables; those that they cannot free are returned.
        """
        condition, *arguments = node.inputs
        within = margin + INDENT
        branches = node.op.true_branch.fgraph, node.op.false_branch.fgraph
        copies = [unneeded_copies(node, branch, buffers) for branch in branches]
        in_place = safe_overwriters(node, copies[1], buffers)
        freed = {v for v in done if node.inputs.count(v) == 1} - {condition, *node.outputs}
        lines = f"if {names[condition]}:", "else:"
        for line, branch, aliased in zip(lines, branches, copies, strict=True):
            inner = Names(self)
            inner.update(zip(branch.inputs, (names[v] for v in arguments), strict=True))
            inner.update({copy: inner[v] for copy, v in aliased.items()})
            own = {v for v, given in zip(branch.inputs, arguments, strict=True) if given in freed}
            self.lines.append(margin + line)
            order = [n for n in branch.toposort() if n.outputs[0] not in aliased]
            returned = {*branch.outputs, *aliased.values()}
            used = {v for n in order for v in n.inputs}
            self._free((inner[v] for v in branch.inputs if v in own - used - returned), within)
            within_branch = Buffers(order, branch.inputs, branch.outputs, {})
            kept = ({*branch.inputs} - own) | returned
            self.write(order, inner, within, within_branch, kept, in_place)
            results = ", ".join(names[v] for v in node.outputs)
            self.lines.append(f"{within}{results} = {', '.join(inner[v] for v in branch.outputs)}")
            self._free((inner[v] for v in branch.inputs if v in own & returned), within)
        return [v for v in done if v not in freed]


class JittedWriter(Writer):
    """A writer of a function that Numba compiles as a whole, and in which it frees arrays."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: list[str | None] = []

    def compiled(self, source: str) -> Callable[..., Any]:
        """Return the function, cached on disk if all values that it refers to have cache keys."""
        key = None
        if None not in self._keys:
            parts = [__name__, source, *map(str, self._keys), f"fastmath {config.numba__fastmath}"]
            key = sha256("\n".join(parts).encode()).hexdigest()
        self.values["__name__"] = __name__
        function = compile_numba_function_src(source, "program", self.values, cache_key=key)
        cached = config.numba__cache and key is not None
        program: Callable[..., Any] = numba_njit(function, final_function=True, cache=cached)
        return program

    def _refer(self, value: Any, key: str | None) -> str:
        name = super()._refer(value, key)
        self._keys.append(key and f"{name} {key}")
        return name

    def _kernel(self, node: Apply) -> tuple[Callable[..., Any], str | None]:
        kernel, key = numba_funcify_ensure_cache(node.op, node=node, ofg_memo=self._memo)
        return kernel, key

    def _free(self, names: Iterable[str], margin: str) -> None:
        return


def last_uses(nodes: Sequence[Apply]) -> dict[Apply, list[Variable]]:
    """Return for each node the variables that it is the last to use, or that nothing uses."""
    last = {}
    for node in nodes:
        last.update(dict.fromkeys(node.outputs, node))
        last.update(dict.fromkeys((v for v in node.inputs if not isinstance(v, Constant)), node))
    found: dict[Apply, list[Variable]] = {node: [] for node in nodes}
    for variable, node in last.items():
        found[node].append(variable)
    return found
