"""A graph as one Python function that calls kernels, lazy branches being branches of its code."""

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
from kfgn_graph.backends.rewrites.aliasing import Buffers, passed_on, updates_of
from kfgn_graph.backends.rewrites.averages import averages_in_place, over_the_old
from kfgn_graph.backends.rewrites.network_size import is_small

INDENT = "    "


def program_of(fgraph: AbstractFunctionGraph, order: Sequence[Apply]) -> Callable[..., Any]:
    """Return a Python function of a graph's inputs that calls a kernel for each node.

    PyTensor compiles the whole graph, with all kernels in it, once more. That takes as long as the
    kernels, for every network anew, and saves the microseconds that a call takes: it is done
    for small graphs alone.

    Parameters
    ----------
    fgraph : FunctionGraph
        After rewriting.
    order : sequence of Apply
        Its nodes, as they are to be computed.
    """
    writer = WholeWriter() if is_small(fgraph) else Writer()
    names = Names(writer)
    arguments = [names[v] for v in fgraph.inputs]
    buffers = Buffers(order, fgraph.inputs, fgraph.outputs, updates_of(fgraph))
    kept = {*fgraph.inputs, *fgraph.outputs}
    writer.write(order, names, INDENT, buffers, kept)
    results = "".join(f"{names[v]}, " for v in fgraph.outputs)
    head = f"def program({', '.join(arguments)}):"
    return writer.compiled("\n".join([head, *writer.lines, f"{INDENT}return {results}"]))


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
        self.values: dict[str, Any] = {}
        self._names = 0
        self._constants: dict[Variable, str] = {}
        self._functions: dict[Any, str] = {}
        self._memo: dict[Any, Any] = {}  # PyTensor's, of Ops that are graphs

    def compiled(self, source: str) -> Callable[..., Any]:
        """Return the function ``program`` of a source that was written."""
        exec(source, self.values)
        program: Callable[..., Any] = np.errstate(all="ignore")(self.values["program"])
        return program

    def new_name(self) -> str:
        """Return a name that nothing has."""
        self._names += 1
        return f"v{self._names}"

    def constant(self, constant: Constant) -> str:
        """Return the name of a constant, the same wherever it is referred to."""
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
        """Add the statements of nodes, averages among them perhaps over the old ones.

        Whatever is not to be kept is let go after its last reader.
        """
        last = last_readers(nodes)
        for node in nodes:
            done = [v for v in last[node] if v not in kept]
            if isinstance(node.op, LazyIfElse):
                done = self._write_branches(node, names, margin, buffers, done)
            else:
                computed = over_the_old(node) if node in in_place else node
                self._write_call(computed, node.outputs, names, margin)
            self._let_go((names[v] for v in done), margin)

    def _let_go(self, names: Iterable[str], margin: str) -> None:
        gone = ", ".join(names)
        if gone:
            self.lines.append(f"{margin}del {gone}")

    def _kernel(self, node: Apply) -> tuple[Callable[..., Any], str | None]:
        """Return what computes a node, and what tells it from others if that is known."""
        return kernel_of(node, self._memo)

    def _function(self, node: Apply) -> str:
        """Return the name of what computes a node: one for all nodes that are computed alike."""
        value, key = self._kernel(node)
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

    def _write_branches(
        self,
        node: Apply,
        names: Names,
        margin: str,
        buffers: Buffers,
        done: Sequence[Variable],
    ) -> list[Variable]:
        """Add a choice, whose branches let go of what is then done; return what they have not."""
        condition, *arguments = node.inputs
        within = margin + INDENT
        branches = node.op.true_branch.fgraph, node.op.false_branch.fgraph
        copies = [passed_on(node, branch, buffers) for branch in branches]
        averages = averages_in_place(node, copies[1], buffers)
        gone = {v for v in done if node.inputs.count(v) == 1} - {condition, *node.outputs}
        lines = f"if {names[condition]}:", "else:"
        for line, branch, passed in zip(lines, branches, copies, strict=True):
            inner = Names(self)
            inner.update(zip(branch.inputs, (names[v] for v in arguments), strict=True))
            inner.update({copy: inner[v] for copy, v in passed.items()})
            own = {v for v, given in zip(branch.inputs, arguments, strict=True) if given in gone}
            self.lines.append(margin + line)
            order = [n for n in branch.toposort() if n.outputs[0] not in passed]
            returned = {*branch.outputs, *passed.values()}
            read = {v for n in order for v in n.inputs}
            self._let_go((inner[v] for v in branch.inputs if v in own - read - returned), within)
            within_branch = Buffers(order, branch.inputs, branch.outputs, {})
            kept = ({*branch.inputs} - own) | returned
            self.write(order, inner, within, within_branch, kept, averages)
            results = ", ".join(names[v] for v in node.outputs)
            self.lines.append(f"{within}{results} = {', '.join(inner[v] for v in branch.outputs)}")
            self._let_go((inner[v] for v in branch.inputs if v in own & returned), within)
        return [v for v in done if v not in gone]


class WholeWriter(Writer):
    """Writes a program that Numba compiles as a whole, and lets go of arrays by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: list[str | None] = []

    def compiled(self, source: str) -> Callable[..., Any]:
        """Return the function, which is kept on disk if all that it refers to can be told."""
        key = None
        if None not in self._keys:
            parts = [source, *map(str, self._keys), f"fastmath {config.numba__fastmath}"]
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

    def _let_go(self, names: Iterable[str], margin: str) -> None:
        return


def last_readers(nodes: Sequence[Apply]) -> dict[Apply, list[Variable]]:
    """Return what each of a graph's nodes is the last to read, or makes and nobody reads."""
    last = {}
    for node in nodes:
        last.update(dict.fromkeys(node.outputs, node))
        last.update(dict.fromkeys((v for v in node.inputs if not isinstance(v, Constant)), node))
    found: dict[Apply, list[Variable]] = {node: [] for node in nodes}
    for variable, node in last.items():
        found[node].append(variable)
    return found
