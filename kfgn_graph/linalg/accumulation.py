"""A mark for functions whose sums are accumulated in the dtype of their result on JAX.

PyTensor accumulates float32 sums in float64. Its JAX reductions return that float64 where their
type says float32, so that one sum turns everything computed from it into float64. The stages of
the package mark what they return. A function that holds a marked variable has its sums rewritten
for JAX (:mod:`kfgn_graph.backends.rewrites.accumulation`); every other function is left alone.
"""

from __future__ import annotations

from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph


def marked[V: Variable](variable: V) -> V:
    """Return a variable, marked: a copy of it in the graph of a function is marked too."""
    variable.tag.accumulates_in_own_dtype = True
    return variable


def is_marked(fgraph: FunctionGraph) -> bool:
    """Return whether a variable in a graph is marked."""
    return any(getattr(v.tag, "accumulates_in_own_dtype", False) for v in fgraph.variables)
