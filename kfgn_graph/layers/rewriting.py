"""The rewrite database that turns a loss graph into the intermediate representation.

Four stages, in order:

1. ``inline_layers``: the layer Ops of libraries (any :class:`OpFromGraph`) are inlined.
2. ``find_products``: products with a parameter become :class:`~kfgn_graph.layers.ir.Affine`,
   before canonicalisation can reassociate them.
3. ``canonicalize``: PyTensor's canonicalisation and stabilisation, which for example turns a
   naive ``log(sigmoid(z))`` into ``-softplus(-z)``.
4. ``find_layers``: all patterns once more, on the canonical graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytensor.compile.mode import optdb
from pytensor.graph.basic import (
    Constant,
    Variable,
    clone_get_equiv,
)
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import clone_replace
from pytensor.graph.rewriting.basic import (
    EquilibriumGraphRewriter,
    GraphRewriter,
)
from pytensor.graph.rewriting.db import EquilibriumDB, RewriteDatabaseQuery, SequenceDB
from pytensor.graph.traversal import graph_inputs
from pytensor.tensor.type import TensorType

from kfgn_graph.layers.dtypes import rebuild_with_dtype
from kfgn_graph.layers.patterns import (
    ParameterSet,
    find_bias,
    find_dot,
    find_matmul,
    find_scalar_bias,
    find_tensordot,
    inline_layers,
    split_into_slices,
)
from kfgn_graph.layers.sums import expand_product, find_inner_product


class StrictEquilibriumRewriter(EquilibriumGraphRewriter):
    """An equilibrium rewriter that lets the exceptions of its rewrites propagate."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["failure_callback"] = None
        super().__init__(*args, **kwargs)


PRODUCT_RULES: tuple[Callable[..., Any], ...] = (
    find_dot,
    find_matmul,
    find_bias,
    find_scalar_bias,
    find_inner_product,
    expand_product,
    split_into_slices,
)
PATTERN_RULES: tuple[Callable[..., Any], ...] = (*PRODUCT_RULES, find_tensordot)

#: Canonicalisations that merge sums across layers or hide layers from the patterns.
EXCLUDED = (
    "local_elemwise_fusion",
    "local_add_canonizer",
    "local_mul_canonizer",
    "local_log_add_exp",
)


def _layer_patterns(rules: Sequence[Callable[..., Any]]) -> EquilibriumDB:
    db = EquilibriumDB(ignore_newtrees=False, eq_rewriter_class=StrictEquilibriumRewriter)
    for rule in rules:
        db.register(rule.__name__, rule, "layers", "inline", "patterns")
    return db


def _pytensor_canonical() -> GraphRewriter:
    """Return PyTensor's canonicalisation and stabilisation, in the order of PyTensor."""
    return optdb.query(
        RewriteDatabaseQuery(include=["canonicalize", "stabilize"], exclude=EXCLUDED)
    )


layer_ir_db = SequenceDB(failure_callback=None)
layer_ir_db.register("inline_layers", _layer_patterns((inline_layers,)), "inline", position=0)
layer_ir_db.register("find_products", _layer_patterns(PRODUCT_RULES), "layers", position=1)
layer_ir_db.register("canonicalize", _pytensor_canonical(), "layers", position=2)
layer_ir_db.register(
    "find_layers", _layer_patterns(PATTERN_RULES), "layers", "patterns", position=3
)


def _rewritten(
    outputs: Sequence[Variable], parameters: Sequence[Variable], stage: str
) -> list[Variable]:
    roots = [v for v in graph_inputs(outputs) if not isinstance(v, Constant)]
    fgraph = FunctionGraph(roots, list(outputs), clone=False)
    fgraph.attach_feature(ParameterSet(parameters))
    layer_ir_db.query(RewriteDatabaseQuery(include=[stage])).rewrite(fgraph)
    return list(fgraph.outputs)


def inlined(outputs: Sequence[Variable], parameters: Sequence[Variable]) -> list[Variable]:
    """Return a copy of ``outputs`` in which every :class:`OpFromGraph` is inlined."""
    copies = clone_get_equiv([], outputs, copy_inputs=False, copy_orphans=False)
    return _rewritten([copies[v] for v in outputs], parameters, "inline")


def in_layers(outputs: Sequence[Variable], parameters: Sequence[Variable]) -> list[Variable]:
    """Return a copy of ``outputs`` of one dtype in the intermediate representation."""
    copies = clone_get_equiv([], outputs, copy_inputs=False, copy_orphans=False)
    return _rewritten([copies[v] for v in outputs], parameters, "layers")


def with_patterns(loss: Variable, parameters: Sequence[Variable]) -> Variable:
    """Return a loss of the intermediate representation in which all patterns are found again."""
    return _rewritten([loss], parameters, "patterns")[0]


def rewrite_to_layers(
    outputs: Sequence[Variable], parameters: Sequence[Variable], dtype: str
) -> list[Variable]:
    """Return ``outputs`` in the intermediate representation, over the user's own roots.

    The user's graph is copied and not changed. A root whose static leading length is 1 is treated
    as one of unknown length, so that canonicalisation does not drop the example axis.
    """
    opened = inlined(outputs, parameters)
    general = {v: _with_unknown_batch(v) for v in _single_example_roots(opened, parameters)}
    opened = clone_replace(
        rebuild_with_dtype(opened, parameters, dtype), general, rebuild_strict=False
    )
    found = _rewritten(opened, parameters, "layers")
    return clone_replace(found, {g: v for v, g in general.items()}, rebuild_strict=False)


def _single_example_roots(
    outputs: Sequence[Variable], parameters: Sequence[Variable]
) -> list[Variable]:
    return [
        v
        for v in graph_inputs(outputs)
        if isinstance(v.type, TensorType)
        and v.type.shape[:1] == (1,)
        and v not in parameters
        and not isinstance(v, Constant)
    ]


def _with_unknown_batch(variable: Variable) -> Variable:
    shape = (None, *variable.type.shape[1:])
    return TensorType(variable.type.dtype, shape)(name=variable.name)
