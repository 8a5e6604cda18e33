"""Elementwise Ops write into the same arguments as by PyTensor's rewrite, found by fewer tries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
import pytest
from pytensor.compile.aliasing import Supervisor
from pytensor.graph.features import ReplaceValidate
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.utils import InconsistencyError
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.rewriting.elemwise import InplaceElemwiseOptimizer

from kfgn_graph.backends.rewrites.in_place import ElementwiseInPlace


def random_graph(rng: np.random.Generator) -> FunctionGraph:
    """Draw sums, products and transpositions of what came before."""
    x = pt.dmatrix("x", shape=(3, 3))
    made = [x, pt.exp(x)]
    for kind in rng.integers(4, size=12):
        a, b = (made[-1 - i] for i in rng.integers(min(len(made), 5), size=2))
        made.append([lambda a, b: a.T, pt.add, pt.mul, lambda a, b: pt.tanh(a)][kind](a, b))
    fgraph = FunctionGraph([x], [made[-1], made[-4]], clone=True)
    fgraph.attach_feature(Supervisor([fgraph.inputs[0]]))
    return fgraph


def destroyed(fgraph: FunctionGraph) -> list[dict[int, list[int]]]:
    """Return what each elementwise Op writes into, in the order in which they were built."""
    nodes = FunctionGraph(fgraph.inputs, fgraph.outputs, clone=True).toposort()
    return [node.op.destroy_map for node in nodes if isinstance(node.op, Elemwise)]


@pytest.fixture
def rejected(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was tried in vain."""
    found: list[Any] = []
    replace = ReplaceValidate.replace_all_validate

    def watched(self: Any, fgraph: FunctionGraph, replacements: Any, **options: Any) -> Any:
        try:
            return replace(self, fgraph, replacements, **options)
        except InconsistencyError:
            found.append(replacements)
            raise

    monkeypatch.setattr(ReplaceValidate, "replace_all_validate", watched)
    return found


def test_the_same_is_written_into_and_less_is_tried_in_vain(
    rng: np.random.Generator, rejected: list[Any]
) -> None:
    written, in_vain = 0, {ElementwiseInPlace: 0, InplaceElemwiseOptimizer: 0}
    for seed in rng.integers(2**31, size=40):
        maps = []
        for rewrite in in_vain:
            fgraph = random_graph(np.random.default_rng(seed))
            rewrite().rewrite(fgraph)
            in_vain[rewrite] += len(rejected)
            rejected.clear()
            maps.append(destroyed(fgraph))
        assert maps[0] == maps[1]
        written += sum(map(len, maps[0]))
    assert written > 50
    assert in_vain[InplaceElemwiseOptimizer] > 20
    assert in_vain[ElementwiseInPlace] < in_vain[InplaceElemwiseOptimizer] / 2
