"""Elementwise Ops whose expressions Numba is given as such."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytensor.scalar.basic as ps
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import dfs_rewriter, node_rewriter
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.link.numba.dispatch.basic import (
    numba_funcify_ensure_cache,
    numba_njit,
    register_funcify_and_cache_key,
)
from pytensor.tensor.elemwise import Elemwise

from kfgn_graph.backends.expressions import Source, composed, expression

#: The tag of the rewrite, for ``Mode.including``.
INLINE_EXPRESSIONS = "kfgn_inline_expressions"

#: After elementwise Ops are fused and work in place, before they are fused with reductions.
BEFORE_REDUCTIONS = 99.5

#: Of the source of expressions, a part of the key of compiled code on disk.
VERSION = 1


class InlineComposite(ps.Composite):
    """A graph of scalar Ops that Numba compiles as one expression."""


@register_funcify_and_cache_key(InlineComposite)
def numba_funcify_inline(
    op: InlineComposite, node: Apply | None = None, **kwargs: Any
) -> tuple[Callable[..., Any], str | None]:
    """Return the function of the expressions."""
    source = Source(op.fgraph, lambda inner: numba_funcify_ensure_cache(inner.op, node=inner))
    told = None not in source.keys
    key = sha256(repr((VERSION, source.text, source.keys)).encode()).hexdigest() if told else None
    function = compile_numba_function_src(source.text, "numbers", source.values)
    return numba_njit(function, error_model="numpy"), key


@node_rewriter([Elemwise])
def inline_expression(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Let an elementwise Op compute its expressions at once."""
    op = node.op.scalar_op
    if isinstance(op, InlineComposite):
        return None
    types = [ps.get_scalar_type(v.type.dtype) for v in node.inputs]
    if (
        not isinstance(op, ps.Composite)
        and expression(op.make_node(*[t() for t in types]), ["x"] * len(types)) is None
    ):
        return None
    inline = Elemwise(composed(op, types, InlineComposite), node.op.inplace_pattern)
    results: list[Variable] = inline(*node.inputs, return_list=True)
    return results


optdb.register(
    INLINE_EXPRESSIONS,
    dfs_rewriter(inline_expression, ignore_newtrees=True),
    position=BEFORE_REDUCTIONS,
)
