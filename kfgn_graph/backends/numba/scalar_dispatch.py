"""Elementwise Ops whose scalar graph Numba compiles as one function."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytensor.scalar.basic as ps
from pytensor.compile.mode import optdb
from pytensor.graph.basic import Apply
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.link.numba.dispatch.basic import (
    numba_funcify_ensure_cache,
    numba_njit,
    register_funcify_and_cache_key,
)
from pytensor.tensor.elemwise import Elemwise

from kfgn_graph.backends.rewrites.scalar_source import Source, composed, expression

#: The tag of the rewrite, for ``Mode.including``.
INLINE_EXPRESSIONS = "kfgn_inline_expressions"

#: Position: after elementwise Ops are fused and work in place, before they are fused with
#: reductions.
BEFORE_REDUCTIONS = 99.5

#: Version of the generated source; part of the key under which Numba caches compiled code.
VERSION = 1


class InlineComposite(ps.Composite):
    """A graph of scalar Ops that Numba compiles as one function."""


@register_funcify_and_cache_key(InlineComposite)
def numba_funcify_inline(
    op: InlineComposite, node: Apply | None = None, **kwargs: Any
) -> tuple[Callable[..., Any], str | None]:
    """Return the function, and its cache key."""
    source = Source(op.fgraph, lambda inner: numba_funcify_ensure_cache(inner.op, node=inner))
    cached = None not in source.keys
    key = (
        sha256(repr((VERSION, source.text, source.keys)).encode()).hexdigest() if cached else None
    )
    function = compile_numba_function_src(source.text, "scalars", source.values)
    return numba_njit(function, error_model="numpy"), key


class InlineExpressions(GraphRewriter):
    """Replace the scalar Ops of elementwise Ops by :class:`InlineComposite`.

    The new Op overwrites the same inputs, so that the replacements need no validation, which is
    slow at this stage.
    """

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite a graph."""
        for node in fgraph.toposort():
            inline = inlined(node)
            if inline is not None:
                pairs = zip(node.outputs, inline(*node.inputs, return_list=True), strict=True)
                fgraph.replace_all(list(pairs), reason=INLINE_EXPRESSIONS)


def inlined(node: Apply) -> Elemwise | None:
    """Return the replacement of a node's Op, or None."""
    if not isinstance(node.op, Elemwise):
        return None
    op = node.op.scalar_op
    if isinstance(op, InlineComposite):
        return None
    types = [ps.get_scalar_type(v.type.dtype) for v in node.inputs]
    if (
        not isinstance(op, ps.Composite)
        and expression(op.make_node(*[t() for t in types]), ["x"] * len(types)) is None
    ):
        return None
    return Elemwise(composed(op, types, InlineComposite), node.op.inplace_pattern)


optdb.register(INLINE_EXPRESSIONS, InlineExpressions(), position=BEFORE_REDUCTIONS)
