"""What is not due sits in a branch that is not taken: nothing of it is left outside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytensor.tensor as pt
import pytest
from pytensor.graph.basic import Apply
from pytensor.graph.destroyhandler import DestroyHandler
from pytensor.graph.features import ReplaceValidate
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.utils import InconsistencyError
from pytensor.scalar import basic as scalars
from pytensor.tensor.elemwise import Elemwise

import kfgn_graph as kfgn
from kfgn_graph.backends.c.branches import Protected
from tests.cases import Case, build
from tests.losses import LOSSES
from tests.nets import NETS, Net, chain
from tests.stepping import compile_case, slow

pytestmark = pytest.mark.thorough

NET = chain("sizes of their own", [3, 5, 4], "tanh")
FACTOR_SIZES = {4, 5, 6}  # of NET, with biases; the quadratic model's matrices are smaller
EXAMPLES = 7
EVERYTHING: dict[str, Any] = {
    "damping": kfgn.LevenbergMarquardt(),
    "step": kfgn.Rescaling(reject_below=0.0, watch=None),
}
SELDOM: dict[str, dict[str, Any]] = {
    "inverses": {"refresh_every": 5},
    "factors": {"factors_every": 5},
    "ratio": {"step": kfgn.Rescaling(reject_below=None)},
    "test": {"step": kfgn.Rescaling()},
    "search": {"damping": kfgn.LevenbergMarquardt(gamma="search")},
}
SELDOM["all"] = {key: value for row in SELDOM.values() for key, value in row.items()}


@cache
def graph_of(
    seldom: str,
    backend: str,
    inverse: str = "cholesky",
    method: str = "KFLR",
    net: Net = NET,
) -> Any:
    """Compile an update and return the graph that the backend runs."""
    rng = np.random.default_rng(0)
    case = Case(net, LOSSES["bernoulli"])
    problem = build(case, case.values(rng))
    settings = EVERYTHING | SELDOM.get(seldom, {})
    update = compile_case(problem, method, backend=backend, inverse=inverse, **settings)
    return update.function_for(case.batch(rng, EXAMPLES)).maker.fgraph


def always_run(fgraph: Any) -> Iterator[Apply]:
    """Yield what every call runs: all nodes, those within Ops too, but the branches' own."""
    for node in fgraph.apply_nodes:
        yield node
        if type(node.op).__name__ != "LazyIfElse" and hasattr(node.op, "fgraph"):
            yield from always_run(node.op.fgraph)


def within_branches(fgraph: Any) -> Iterator[Apply]:
    """Yield what stands in branches, those of branches included."""
    for node in fgraph.apply_nodes:
        if type(node.op).__name__ == "LazyIfElse":
            for branch in (node.op.true_branch, node.op.false_branch):
                yield from always_run(branch.fgraph)
                yield from within_branches(branch.fgraph)


def factorisations(nodes: Iterator[Apply]) -> list[str]:
    """Return the names of what decomposes a matrix of a factor's size."""
    return [
        type(node.op).__name__
        for node in nodes
        if type(node.op).__name__ in ("Cholesky", "ShiftedSolve", "ShiftedInverse", "Eigh")
        and node.inputs[0].type.shape[-1] in FACTOR_SIZES
    ]


def products(nodes: Iterator[Apply]) -> int:
    """Return the number of matrix products."""
    names = ("Dot", "Gemm", "Matmul", "Syrk")
    return sum(type(node.op).__name__.startswith(names) for node in nodes)


def iterations(nodes: Iterator[Apply]) -> int:
    """Return the number of loops that invert."""
    return sum(type(node.op).__name__ == "IteratedInverses" for node in nodes)


BACKENDS = ["jax", slow("numba")]


@pytest.mark.parametrize("backend", BACKENDS)
def test_inverses_that_are_not_due_are_not_computed(backend: str) -> None:
    assert len(factorisations(always_run(graph_of("", backend)))) == 4
    seldom = graph_of("inverses", backend)
    assert factorisations(always_run(seldom)) == []
    # these ask themselves whether they are due: tests/linalg/test_matrices.py
    refreshed = [type(node.op).__name__ for node in always_run(seldom)].count("RefreshedInverse")
    assert refreshed == 4


@pytest.mark.parametrize("backend", [slow("jax"), slow("numba")])
def test_eigenvectors_that_are_not_due_are_not_computed(backend: str) -> None:
    seldom = graph_of("inverses", backend, "eigh")
    assert factorisations(always_run(seldom)) == []
    assert factorisations(within_branches(seldom)) == ["Eigh"] * 4


@pytest.mark.parametrize("backend", [slow("jax"), slow("numba")])
def test_iterated_inverses_that_are_not_due_are_not_computed(backend: str) -> None:
    # what is due at each update still waits for a batch that is finite
    assert iterations(within_branches(graph_of("", backend, "newton-schulz"))) > 0
    seldom = graph_of("inverses", backend, "newton-schulz")
    assert iterations(always_run(seldom)) == 0
    assert iterations(within_branches(seldom)) > 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("part", ["factors", "ratio", "test"])
def test_products_that_are_not_due_are_not_computed(part: str, backend: str) -> None:
    always, seldom = graph_of("", backend), graph_of(part, backend)
    saved = products(always_run(always)) - products(always_run(seldom))
    # two forward products for rho; for the factors Q and G of two layers, and the square roots
    assert saved >= {"ratio": 2, "test": 2, "factors": 4}[part]
    assert products(within_branches(seldom)) >= saved


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_recursion_over_layers_that_is_not_due_is_not_run(backend: str) -> None:
    # KFRA makes a layer's G from that of the layer above, by products in which no examples occur,
    # whose number Numba does not know
    def recursive(seldom: str) -> int:
        graph = graph_of(seldom, backend, method="KFRA", net=NETS["mixed"])
        return products(
            node
            for node in always_run(graph)
            if not any(n in (EXAMPLES, None) for v in node.inputs for n in v.type.shape)
        )

    preconditioning = 2 * 4  # of four layers, with inverses that are kept
    model = 2  # its small system, by an inverse
    assert recursive("") > model
    assert recursive("all") <= preconditioning + model


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_search_that_is_not_due_costs_nothing(backend: str) -> None:
    always, seldom = graph_of("", backend), graph_of("search", backend)
    assert products(always_run(seldom)) <= products(always_run(always))
    assert len(factorisations(always_run(seldom))) <= 4
    assert len(factorisations(within_branches(seldom))) >= 3 * 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_update_with_nothing_due_runs_what_a_step_alone_needs(backend: str) -> None:
    found = products(always_run(graph_of("all", backend)))
    assert factorisations(always_run(graph_of("all", backend))) == []
    # forward 2, gradient 3, preconditioning 4, images of three directions at most 2 + 1 + 3 each
    assert found <= 2 + 3 + 4 + 3 * 4


def test_after_a_replacement_that_is_refused_the_graph_is_as_sound_as_before() -> None:
    x, y = pt.dvector("x"), pt.dvector("y")
    over_y = Elemwise(scalars.exp, {0: 0})(y)
    fgraph = FunctionGraph([x, y], [pt.exp(x), over_y], clone=False)
    for feature in (ReplaceValidate(), DestroyHandler(), Protected({x})):
        fgraph.attach_feature(feature)
    with pytest.raises(InconsistencyError):
        fgraph.replace_all_validate([(x, y)])  # y would be read by two, and is written into
    fgraph.validate()


def test_what_has_been_replaced_before_stays_kept_when_a_further_replacement_is_refused() -> None:
    x, y, z = pt.dvector("x"), pt.dvector("y"), pt.dvector("z")
    over_z = Elemwise(scalars.exp, {0: 0})(z)
    first, second = pt.exp(x), pt.cos(x)
    fgraph = FunctionGraph([x, y, z], [first, second, over_z], clone=False)
    for feature in (ReplaceValidate(), DestroyHandler(), Protected({x})):
        fgraph.attach_feature(feature)
    fgraph.change_node_input(first.owner, 0, y)
    with pytest.raises(InconsistencyError):
        fgraph.replace_all_validate([(x, y), (y, z)])
    with pytest.raises(InconsistencyError):
        fgraph.replace_all_validate([(first, Elemwise(scalars.exp, {0: 0})(y))])
