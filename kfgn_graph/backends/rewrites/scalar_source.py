"""Python source of scalar Ops: one function for a whole expression.

The source runs in Python for NumPy scalars, and Numba can compile it for elementwise Ops.
PyTensor itself makes a function for every scalar Op of an expression and for every cast of a
result, each called from the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor.scalar.basic as ps
from pytensor.compile.ops import DeepCopyOp
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import AbstractFunctionGraph
from pytensor.raise_op import CheckAndRaise
from pytensor.tensor.basic import Alloc, AllocEmpty, ExtractDiag, Eye, Join, MakeVector
from pytensor.tensor.shape import Reshape, Shape, Shape_i
from pytensor.tensor.subtensor import Subtensor

#: Ops for which compiled code is no faster than NumPy: views, shapes, joins and allocation.
NUMPY_OPS = (
    Alloc,
    AllocEmpty,
    CheckAndRaise,
    DeepCopyOp,
    ExtractDiag,
    Eye,
    Join,
    MakeVector,
    Reshape,
    Shape,
    Shape_i,
    Subtensor,
)

#: Expressions of operands that have the dtype of the result.
ARITHMETIC = {
    ps.Sub: "{0} - {1}",
    ps.TrueDiv: "{0} / {1}",
    ps.Neg: "-{0}",
    ps.Sqr: "{0} * {0}",
    ps.Reciprocal: "float32(1) / {0}",
    ps.Abs: "abs({0})",
    ps.Sqrt: "sqrt({0})",
    ps.Exp: "exp({0})",
    ps.Log: "log({0})",
    ps.Log1p: "log1p({0})",
    ps.Tanh: "tanh({0})",
    ps.ScalarMaximum: "maximum({0}, {1})",
    ps.ScalarMinimum: "minimum({0}, {1})",
}

#: Operators of Ops with any number of operands.
VARIADIC = {ps.Add: " + ", ps.Mul: " * "}

#: Expressions with a Boolean result.
CONDITIONS = {
    ps.LT: "{0} < {1}",
    ps.GT: "{0} > {1}",
    ps.LE: "{0} <= {1}",
    ps.GE: "{0} >= {1}",
    ps.EQ: "{0} == {1}",
    ps.NEQ: "{0} != {1}",
    ps.IsNan: "isnan({0})",
    ps.IsInf: "isinf({0})",
}

#: Expressions of Boolean operands.
LOGIC = {ps.AND: "{0} & {1}", ps.OR: "{0} | {1}", ps.Invert: "not {0}"}

#: Names that the expressions refer to.
FUNCTIONS = {
    name: getattr(np, name)
    for name in (
        *("sqrt", "exp", "log", "log1p", "tanh", "maximum", "minimum", "isnan", "isinf"),
        *("bool", "int8", "int16", "int32", "int64", "float32", "float64"),
    )
}


def expression(node: Apply, operands: Sequence[str]) -> str | None:
    """Return the source of a scalar Op's node, or None if the Op is not supported.

    Parameters
    ----------
    node : Apply
        The node.
    operands : sequence of str
        The names of its inputs.
    """
    kind, dtypes = type(node.op), [v.type.dtype for v in node.inputs]
    dtype = node.outputs[0].type.dtype
    if not {dtype, *dtypes} <= FUNCTIONS.keys():
        return None
    if kind is ps.Identity:
        return operands[0]
    if kind is ps.Cast:
        return f"{dtype}({operands[0]})"
    if kind is ps.Switch and dtypes[1] == dtypes[2]:
        return f"{operands[1]} if {operands[0]} else {operands[2]}"
    if kind in LOGIC and set(dtypes) == {"bool"}:
        return LOGIC[kind].format(*operands)
    if kind in CONDITIONS and "bool" not in dtypes:
        return CONDITIONS[kind].format(*operands)
    if dtype in ("float32", "float64"):
        converted = [
            name if d == dtype else f"{dtype}({name})"
            for name, d in zip(operands, dtypes, strict=True)
        ]
        return arithmetic(kind, converted)
    if "bool" in dtypes:
        return None
    text = arithmetic(kind, operands)
    return text and f"{dtype}({text})"


def arithmetic(kind: type[ps.ScalarOp], operands: Sequence[str]) -> str | None:
    """Return the source of an arithmetic Op, or None if the Op is not supported."""
    if kind in VARIADIC:
        return VARIADIC[kind].join(operands)
    return ARITHMETIC[kind].format(*operands) if kind in ARITHMETIC else None


#: Returns a function and its cache key for the node of an Op without source.
Fallback = Callable[[Apply], tuple[Callable[..., Any], str | None]]


class Source:
    """The source of a function named ``scalars`` that evaluates a graph of scalar Ops.

    Parameters
    ----------
    graph : FunctionGraph
        The scalar graph.
    fallback : callable
        Returns a function and its cache key for the node of an Op without source.

    Attributes
    ----------
    text : str
        The source.
    values : dict
        The global names that it refers to.
    keys : list of str or None
        A cache key for each function or constant among ``values``; None where there is none.
    """

    def __init__(self, graph: AbstractFunctionGraph, fallback: Fallback) -> None:
        self.values: dict[str, Any] = dict(FUNCTIONS, __name__=__name__)
        self.keys: list[str | None] = []
        self._fallback = fallback
        self._count = 0
        self._lines: list[str] = []
        inputs = [f"x{i}" for i in range(len(graph.inputs))]
        results = self._write(graph, inputs)
        lines = [f"def scalars({', '.join(inputs)}):", *self._lines, f"return {results}"]
        self.text = "\n    ".join(lines)

    def _write(self, graph: AbstractFunctionGraph, inputs: Sequence[str]) -> str:
        """Append the statements of a graph, and return the names of its outputs."""
        names = dict(zip(graph.inputs, inputs, strict=True))

        def name(v: Variable) -> str:
            if isinstance(v, Constant) and v not in names:
                names[v] = self._refer(v.data, f"{v.data.dtype} {v.data.tobytes().hex()}")
            return names[v]

        for node in graph.toposort():
            text = self._text(node, [name(v) for v in node.inputs])
            for v in node.outputs:
                names[v] = f"t{self._count}"
                self._count += 1
            self._lines.append(f"{', '.join(names[v] for v in node.outputs)} = {text}")
        return ", ".join(name(v) for v in graph.outputs)

    def _text(self, node: Apply, operands: Sequence[str]) -> str:
        """Return the source of a node, after statements of a composite Op."""
        if isinstance(node.op, ps.Composite):
            return self._write(node.op.fgraph, operands)
        text = expression(node, operands)
        return text or f"{self._refer(*self._fallback(node))}({', '.join(operands)})"

    def _refer(self, value: Any, key: str | None) -> str:
        """Bind a value to a new global name, and return the name."""
        name = f"c{len(self.keys)}"
        self.values[name] = value
        self.keys.append(key)
        return name


class NoSourceError(Exception):
    """A scalar Op is not supported."""


def python_function(op: ps.ScalarOp, types: Sequence[ps.ScalarType]) -> Callable[..., Any] | None:
    """Return a Python function of NumPy scalars for a scalar Op, or None if it is not supported.

    Parameters
    ----------
    op : ScalarOp
        The Op, perhaps a composite one.
    types : sequence of ScalarType
        The types of its inputs.
    """

    def refuse(node: Apply) -> Any:
        raise NoSourceError

    try:
        source = Source(composed(op, types).fgraph, refuse)
    except NoSourceError:
        return None
    exec(source.text, source.values)
    function: Callable[..., Any] = source.values["scalars"]
    return function


def composed(
    op: ps.ScalarOp, types: Sequence[ps.ScalarType], kind: type[ps.Composite] = ps.Composite
) -> ps.Composite:
    """Return a composite Op that equals a scalar Op."""
    inputs = op.inputs if isinstance(op, ps.Composite) else [t() for t in types]
    outputs = op.outputs if isinstance(op, ps.Composite) else op(*inputs, return_list=True)
    return kind(inputs, outputs)
