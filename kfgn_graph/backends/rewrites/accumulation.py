"""Sums accumulated in the dtype of their result, for JAX.

PyTensor's JAX reductions return the dtype that they accumulate in: float64 for a float32 sum. The
rewrite acts on functions that hold a marked variable (:mod:`kfgn_graph.linalg.accumulation`), and
on those whose mode includes :data:`OWN_DTYPE`.
"""

from __future__ import annotations

from pytensor.compile.builders import OpFromGraph
from pytensor.compile.mode import optdb
from pytensor.conditional.op import LazyIfElse
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import GraphRewriter, dfs_rewriter, node_rewriter
from pytensor.scan.op import Scan
from pytensor.tensor.elemwise import CAReduce
from pytensor.tensor.math import Prod, Sum

from kfgn_graph.linalg.accumulation import is_marked

#: The tag of the rewrite, for ``Mode.including``.
OWN_DTYPE = "kfgn_accumulate_in_own_dtype"
#: The name of the rewrite of marked functions, for modes that include the tag.
MARKED = "kfgn_accumulate_in_marked"

#: Before and after PyTensor's own rewrites.
FIRST, LATE = -1.0, 99.0


@node_rewriter([CAReduce])
def accumulate_in_own_dtype(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Accumulate a sum or a product in the dtype of its result."""
    op, dtype = node.op, node.outputs[0].type.dtype
    if not isinstance(op, Sum | Prod) or op.acc_dtype in (None, dtype):
        return None
    return [type(op)(axis=op.axis, dtype=op.dtype, acc_dtype=dtype)(*node.inputs)]


in_one_graph = dfs_rewriter(accumulate_in_own_dtype)


def within(op: Op) -> Op:
    """Return an Op whose inner graphs accumulate in their own dtype: itself if they do already."""
    if isinstance(op, LazyIfElse):
        branches = within(op.true_branch), within(op.false_branch)
        unchanged = branches == (op.true_branch, op.false_branch)
        return op if unchanged else LazyIfElse(*branches, op.output_types)
    if not isinstance(op, Scan | OpFromGraph):
        return op
    inner = op.fgraph.unfreeze()
    before = [node.op for node in inner.toposort()]
    everywhere(inner)
    changed = before != [node.op for node in inner.toposort()]
    return op.clone_with_inner_graph(inner) if changed else op


def everywhere(fgraph: FunctionGraph) -> None:
    """Rewrite a graph, and those within its loops and branches."""
    in_one_graph.rewrite(fgraph)
    for node in fgraph.toposort():
        op = within(node.op)
        if op is not node.op:
            new = op(*node.inputs, return_list=True)
            fgraph.replace_all(list(zip(node.outputs, new, strict=True)), reason=OWN_DTYPE)


class Recognise(GraphRewriter):
    """Note whether a function holds a marked variable, before rewrites replace variables."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Set a flag of the graph."""
        fgraph.accumulates_in_own_dtype = is_marked(fgraph)


class InMarkedFunctions(GraphRewriter):
    """The rewrite of a marked function, loops and branches included."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite a graph whose flag is set; leave any other alone."""
        if getattr(fgraph, "accumulates_in_own_dtype", False):
            everywhere(fgraph)


optdb.register(OWN_DTYPE, in_one_graph, position=LATE)
optdb.register("kfgn_recognise_marked", Recognise(), "jax", position=FIRST)
optdb.register(MARKED, InMarkedFunctions(), "jax", position=LATE)
