"""A mark for functions whose sums are to be accumulated in the dtype of their result.

PyTensor accumulates float32 sums in float64. Its JAX reductions return that float64 where their
type says float32, so that one sum turns everything computed from it into float64. A function
that reads a marked variable has its sums rewritten for JAX; every other function is left alone.
"""

from __future__ import annotations

from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph


def mark(variable: Variable) -> None:
    """Mark an input: functions that read it accumulate sums in their own dtype on JAX."""
    variable.tag.accumulates_in_own_dtype = True


def is_marked(fgraph: FunctionGraph) -> bool:
    """Return whether one of the inputs of a function's graph is marked."""
    return any(getattr(v.tag, "accumulates_in_own_dtype", False) for v in fgraph.inputs)
