"""Graphs import new nodes as PyTensor does, and substitution leaves the rest of a graph alone."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.assumptions.specify import SpecifyAssumptions
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.utils import MissingInputError

from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.base import mode_for
from kfgn_graph.backends.rewrites.declared import DROP_DECLARED
from kfgn_graph.backends.rewrites.linear_imports import LinearImports
from kfgn_graph.layers.substitution import substituted
from kfgn_graph.linalg.matrices import declared_diagonal

X, Y = pt.vector("x"), pt.vector("y")


def test_a_graph_with_the_feature_is_the_graph_without_it() -> None:
    found = []
    for features in ([], [LinearImports()]):
        z = pt.exp(X)
        fgraph = FunctionGraph([X, Y], [pt.sin(z) + Y, z], clone=False, features=features)
        new = pt.cos(pt.tanh(X) * Y)
        fgraph.replace(z, new * new, reason="test")
        fgraph.check_integrity()
        found.append((len(fgraph.apply_nodes), len(fgraph.variables), fgraph.outputs))
    (*sizes, outputs), (*others, same) = found
    assert sizes == others
    assert [str(v) for v in outputs] == [str(v) for v in same]


def test_an_input_that_the_graph_lacks_is_refused_or_added() -> None:
    def graph() -> tuple[FunctionGraph, Variable]:
        z = pt.exp(X)
        return FunctionGraph([X], [pt.sin(z)], clone=False, features=[LinearImports()]), z

    fgraph, z = graph()
    with pytest.raises(MissingInputError):
        fgraph.replace(z, pt.cos(X * Y))
    fgraph, z = graph()
    fgraph.replace(z, pt.cos(X * Y), import_missing=True)
    assert fgraph.inputs == [X, Y]


def test_the_feature_is_removed_after_rewriting() -> None:
    mode = mode_for(resolve_backend("c", None), X.sum())
    fgraph = pytensor.function([X], (X * 2).sum(), mode=Mode("py", mode.optimizer)).maker.fgraph
    assert not any(isinstance(feature, LinearImports) for feature in fgraph._features)
    assert "import_node" not in vars(fgraph)


def test_declarations_are_dropped(rng: np.random.Generator) -> None:
    A, x = pt.matrix("A"), rng.standard_normal((3, 3))
    out = declared_diagonal(A) @ A
    mode = Mode("py", None).including(DROP_DECLARED)
    function = pytensor.function([A], out, mode=mode)
    nodes = function.maker.fgraph.apply_nodes
    assert not any(isinstance(node.op, SpecifyAssumptions) for node in nodes)
    np.testing.assert_allclose(function(x), x @ x)


def test_substitution_copies_what_depends_on_the_replaced_alone() -> None:
    kept = pt.tanh(Y)
    z = pt.exp(X)
    out = pt.sin(z) * kept
    new = substituted(out, {X: X + Y, z: z * 2})
    assert new.owner.inputs[1] is kept
    assert new.owner.inputs[0].owner.inputs[0].owner.inputs[0] is z
    values = {X: np.array([0.1, 0.2]), Y: np.array([0.3, 0.4])}
    want = np.sin(2 * np.exp(values[X])) * np.tanh(values[Y])
    np.testing.assert_allclose(new.eval(values, mode=Mode("py", None)), want)
    assert substituted(kept, {X: Y}) is kept
