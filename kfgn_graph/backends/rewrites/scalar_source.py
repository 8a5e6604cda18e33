"""What needs no compiler, and scalar Ops as Python source, which runs for single numbers.

Numba compiles the same source at once for arrays. PyTensor compiles a function for every scalar Op
of an expression, one that casts its result, one for the whole and one that casts that; and runs
them in Python by a call for every Op.
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

#: Ops that NumPy computes at once, or whose results are but views.
AT_ONCE = (
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

#: Expressions of numbers that have the dtype of the result.
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

#: Of any number of them.
JOINED = {ps.Add: " + ", ps.Mul: " * "}

#: Expressions that are true or false.
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

#: Expressions of what is true or false.
LOGIC = {ps.AND: "{0} & {1}", ps.OR: "{0} | {1}", ps.Invert: "not {0}"}

#: What expressions may refer to.
FUNCTIONS = {
    name: getattr(np, name)
    for name in (
        *("sqrt", "exp", "log", "log1p", "tanh", "maximum", "minimum", "isnan", "isinf"),
        *("bool", "int8", "int16", "int32", "int64", "float32", "float64"),
    )
}


def expression(node: Apply, operands: Sequence[str]) -> str | None:
    """Return the source of a scalar Op, None if it has none here.

    Parameters
    ----------
    node : Apply
        Of the Op.
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
    """Return the source of an Op of numbers, None if it has none here."""
    if kind in JOINED:
        return JOINED[kind].join(operands)
    return ARITHMETIC[kind].format(*operands) if kind in ARITHMETIC else None


#: What returns the function and the key of a scalar Op that has no source here.
Other = Callable[[Apply], tuple[Callable[..., Any], str | None]]


class Source:
    """The source of a graph of scalar Ops, as a function named ``numbers``.

    Attributes
    ----------
    text : str
        The function.
    values : dict
        What it refers to.
    keys : list
        What tells those values from all others; None of what cannot be told.
    """

    def __init__(self, graph: AbstractFunctionGraph, other: Other) -> None:
        self.values: dict[str, Any] = dict(FUNCTIONS, __name__=__name__)
        self.keys: list[str | None] = []
        self._other = other
        self._numbers = 0
        self._lines: list[str] = []
        inputs = [f"x{i}" for i in range(len(graph.inputs))]
        results = self._write(graph, inputs)
        lines = [f"def numbers({', '.join(inputs)}):", *self._lines, f"return {results}"]
        self.text = "\n    ".join(lines)

    def _write(self, graph: AbstractFunctionGraph, inputs: Sequence[str]) -> str:
        """Add the statements of a graph, and return its outputs."""
        names = dict(zip(graph.inputs, inputs, strict=True))

        def name(v: Variable) -> str:
            if isinstance(v, Constant) and v not in names:
                names[v] = self._refer(v.data, f"{v.data.dtype} {v.data.tobytes().hex()}")
            return names[v]

        for node in graph.toposort():
            text = self._text(node, [name(v) for v in node.inputs])
            for v in node.outputs:
                names[v] = f"t{self._numbers}"
                self._numbers += 1
            self._lines.append(f"{', '.join(names[v] for v in node.outputs)} = {text}")
        return ", ".join(name(v) for v in graph.outputs)

    def _text(self, node: Apply, operands: Sequence[str]) -> str:
        """Return the source of a node."""
        if isinstance(node.op, ps.Composite):
            return self._write(node.op.fgraph, operands)
        text = expression(node, operands)
        return text or f"{self._refer(*self._other(node))}({', '.join(operands)})"

    def _refer(self, value: Any, key: str | None) -> str:
        """Return a new name for a value."""
        name = f"c{len(self.keys)}"
        self.values[name] = value
        self.keys.append(key)
        return name


class NoSourceError(Exception):
    """A scalar Op has no source here."""


def python_function(op: ps.ScalarOp, types: Sequence[ps.ScalarType]) -> Callable[..., Any] | None:
    """Return a Python function of NumPy's numbers for a scalar Op, None if it has no source.

    Parameters
    ----------
    op : ScalarOp
        Perhaps of many.
    types : sequence of ScalarType
        Of its inputs.
    """

    def other(node: Apply) -> Any:
        raise NoSourceError

    try:
        source = Source(composed(op, types).fgraph, other)
    except NoSourceError:
        return None
    exec(source.text, source.values)
    function: Callable[..., Any] = source.values["numbers"]
    return function


def composed(
    op: ps.ScalarOp, types: Sequence[ps.ScalarType], kind: type[ps.Composite] = ps.Composite
) -> ps.Composite:
    """Return a scalar Op as a composite one."""
    inputs = op.inputs if isinstance(op, ps.Composite) else [t() for t in types]
    outputs = op.outputs if isinstance(op, ps.Composite) else op(*inputs, return_list=True)
    return kind(inputs, outputs)
