"""What an update need not keep: told from its graph, and by XLA of its program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.conditional.op import IfElse, ifelse
from pytensor.graph.traversal import applys_between
from pytensor.tensor.basic import Join

import kfgn_graph as kfgn
from experiments.networks import autoencoder
from kfgn_graph.backends import resolve_backend
from kfgn_graph.backends.c.linker import ParallelCLinker
from kfgn_graph.backends.rewrites.materialise import Materialise
from tests.graphs import WIDTHS, step_graph
from tests.harness import MODES
from tests.stepping import on_backends

pytestmark = pytest.mark.thorough


def products() -> tuple[list[Any], list[Any]]:
    """Return products of tanh(x) and of what is cheap to make of it, where due and at any time."""
    x, due = pt.matrix("x"), pt.scalar("due", dtype="bool")
    a = pt.tanh(x)
    slope, half = 1 - a**2, a * 0.5
    (chosen,) = ifelse(due, [a.T @ a + slope.T @ slope + half.T @ half], [pt.zeros((3, 3))])
    return [x, due], [chosen, a.T @ (slope * 2 + half), a.sum(axis=0)]


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_what_a_branch_computes_again_is_the_same(backend: str, rng: np.random.Generator) -> None:
    inputs, outputs = products()
    function = pytensor.function(inputs, outputs, mode=resolve_backend(backend, None).mode())
    X = rng.standard_normal((5, 3))
    a = np.tanh(X)
    slope, half = 1 - a**2, a / 2
    for due in (True, False):
        chosen, product, total = function(X, due)
        want = 1.25 * a.T @ a + slope.T @ slope if due else np.zeros((3, 3))
        np.testing.assert_allclose(chosen, want, rtol=0, atol=1e-12)
        np.testing.assert_allclose(product, a.T @ (2 * slope + half), rtol=0, atol=1e-12)
        np.testing.assert_allclose(total, a.sum(axis=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", on_backends([b for b in MODES if b != "c"]))
def test_a_branch_reads_activations_and_no_slopes(backend: str) -> None:
    """What goes into the branch that estimates factors, of the shape of a layer's output."""
    graph = step_graph(backend, factors_every=5)
    (choice,) = [
        node
        for node in graph.apply_nodes
        if type(node.op).__name__ == "LazyIfElse" and len(node.outputs) > 2 * len(WIDTHS) - 2
    ]
    batch = [v for v in choice.inputs if v.type.ndim == 2 and v.type.shape[0] in (7, None)]
    for width in WIDTHS[1:-1]:
        assert len([v for v in batch if v.type.shape[1] == width]) == WIDTHS[1:-1].count(width)


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_first_rows_are_an_array_of_their_own_on_numba_unless_they_are_most_of_it(
    backend: str, rng: np.random.Generator
) -> None:
    x = pt.matrix("x", shape=(5, None))
    rows, most = pt.exp(x)[:2], pt.exp(x)[:3]
    outputs = [rows @ rows.T, rows.sum(axis=1), most @ most.T, most.sum(), pt.exp(x).sum()]
    function = pytensor.function([x], outputs, mode=resolve_backend(backend, None).mode())
    held = [node for node in function.maker.fgraph.apply_nodes if isinstance(node.op, Materialise)]
    assert len(held) == {"jax": 2, "numba": 1, "c": 0}[backend]
    X = rng.standard_normal((5, 3))
    R, M = np.exp(X)[:2], np.exp(X)[:3]
    wanted = [R @ R.T, R.sum(axis=1), M @ M.T, M.sum(), np.exp(X).sum()]
    for got, want in zip(function(X), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_numba_reads_gradients_of_weights_where_they_are_joined_to_those_of_biases() -> None:
    """Nothing keeps the gradients themselves, of which what is joined is a copy."""
    graph = step_graph("numba")
    joins = [
        node
        for node in graph.apply_nodes
        if isinstance(node.op, Join) and node.op.axis == 0 and node.outputs[0].type.ndim == 2
    ]
    assert len(joins) >= len(WIDTHS) - 1
    assert all([reader for reader, _ in graph.clients[join.inputs[0]]] == [join] for join in joins)


@pytest.mark.parametrize(("rows", "dtype"), [(None, "float32"), (2, "float64")])
def test_a_part_is_not_read_where_the_join_has_another_type(rows: int | None, dtype: str) -> None:
    part, more = pt.matrix(dtype="float32", shape=(3, 4)), pt.matrix(dtype=dtype, shape=(rows, 4))
    a = pt.tanh(part)
    outputs = [pt.concatenate([a, more]).sum(axis=1), a @ a.T]
    mode = resolve_backend("numba", None).mode()
    with pytensor.config.change_flags(on_opt_error="raise"):
        function = pytensor.function([part, more], outputs, mode=mode)
    A, M = np.ones((3, 4), "float32"), np.full((2, 4), 2, dtype)
    total, product = function(A, M)
    np.testing.assert_allclose(total, [*[4 * np.tanh(1)] * 3, 8, 8], rtol=1e-6)
    np.testing.assert_allclose(product, np.full((3, 3), 4 * np.tanh(1) ** 2), rtol=1e-6)


@pytest.mark.slow
def test_c_waits_for_no_branch_that_may_not_be_taken_to_free_an_array() -> None:
    """It waits for the conditional in place of what is in its branch alone."""
    inputs, outputs = products()
    mode = resolve_backend("c", None).mode()
    fgraph = pytensor.function(inputs, outputs, mode=mode).maker.fgraph
    (choice,) = [node for node in fgraph.apply_nodes if isinstance(node.op, IfElse)]
    results = [v for node in fgraph.apply_nodes for v in node.outputs]
    rest = [v for v in fgraph.outputs if v.owner is not choice] + choice.inputs[:1]
    within = {*applys_between([], choice.inputs[1:2])} - {*applys_between([], rest)}
    awaited = ParallelCLinker().accept(fgraph).compute_gc_dependencies(results)
    shared = 0
    for v in results:
        if v.owner not in within:
            shared += any(reader in within for reader, _ in fgraph.clients[v])
            assert not any(w.owner in within for w in awaited[v])
    assert shared


def test_xla_keeps_little_besides_the_state_where_inverses_are_kept() -> None:
    """Less than a second set of factors and inverses: of neither are all beside the old ones."""
    network = autoencoder(120, (100, 80, 100))
    update = kfgn.compile_update(network.loss, network.parameters, network.inputs, backend="jax")
    batch = [np.zeros((8, 120), "float32")]
    function = update.function_for(batch)
    shared = [container.storage[0] for container in function.input_storage][1:]
    program = function.vm.jit_fn.lower(*batch, *shared).compile()
    matrices = [v for v in shared if np.ndim(v) == 2 and v.shape[0] == v.shape[1]]
    assert program.memory_analysis().temp_size_in_bytes < sum(v.nbytes for v in matrices)
