"""Kronecker factors against the dense matrices that they stand for."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.graph.traversal import ancestors

import kfgn_graph as kfgn
from tests.cases import Case, build
from tests.harness import MODES, assert_close, compile_graph
from tests.losses import LOSSES
from tests.matrices import semidefinite
from tests.nets import NETS
from tests.reference import kronecker
from tests.stepping import on_backends
from tests.tolerances import EXACT, PER_CONDITION

SHAPES = [(4, 3), (3, 5), (2, 2), (1, 4), (4, 1)]


def symbolic(rows: int, columns: int) -> tuple[list[pt.TensorVariable], kfgn.KroneckerFactors]:
    """Return the variables Q, G, V and the factors made of the first two."""
    Q, G = pt.tensor("Q", shape=(rows, rows)), pt.tensor("G", shape=(columns, columns))
    return [Q, G, pt.tensor("V", shape=(rows, columns))], kfgn.KroneckerFactors(Q, G)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("gamma", [1e-3, 0.5, 20.0])
def test_solve_is_the_dense_inverse(
    shape: tuple[int, int], gamma: float, rng: np.random.Generator
) -> None:
    inputs, factors = symbolic(*shape)
    solution = kfgn.kronecker_solve(factors, inputs[2], gamma)
    function = compile_graph(inputs, solution)
    for rank in (None, 1):
        Q, G = (semidefinite(rng, size, rank) for size in shape)
        V = rng.normal(size=shape)
        tolerance = max(EXACT, PER_CONDITION * kronecker.condition(Q, G, gamma))
        assert tolerance < 1e-5
        assert_close(function(Q, G, V), kronecker.solve(Q, G, V, gamma), tolerance)


@pytest.mark.parametrize("mode", MODES.values())
def test_solve_on_every_backend(mode: str, rng: np.random.Generator) -> None:
    inputs, factors = symbolic(4, 3)
    gamma = pt.scalar("gamma")
    solution = kfgn.kronecker_solve(factors, inputs[2], gamma)
    function = pytensor.function([*inputs, gamma], solution, mode=mode)
    Q, G, V = semidefinite(rng, 4), semidefinite(rng, 3), rng.normal(size=(4, 3))
    for value in (1e-3, 0.5, 20.0):
        assert_close(function(Q, G, V, value), kronecker.solve(Q, G, V, value), EXACT)


@pytest.mark.parametrize("zero", ["Q", "G", "both"])
def test_a_factor_with_no_trace_gives_pi_one(zero: str, rng: np.random.Generator) -> None:
    inputs, factors = symbolic(4, 3)
    solution = kfgn.kronecker_solve(factors, inputs[2], 0.5)
    Q = semidefinite(rng, 4) * (zero == "G")
    G = semidefinite(rng, 3) * (zero == "Q")
    V = rng.normal(size=(4, 3))
    found = compile_graph(inputs, solution)(Q, G, V)
    assert_close(found, kronecker.solve(Q, G, V, 0.5), EXACT)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dense_trace_and_product(shape: tuple[int, int], rng: np.random.Generator) -> None:
    inputs, factors = symbolic(*shape)
    outputs = [factors.to_dense(), factors.trace(), factors.matmul(inputs[2])]
    function = compile_graph(inputs, outputs)
    Q, G = (semidefinite(rng, size) for size in shape)
    V = rng.normal(size=shape)
    dense, trace, product = function(Q, G, V)
    assert_close(dense, np.kron(Q, G), EXACT)
    assert_close(trace, np.trace(np.kron(Q, G)), EXACT)
    assert_close(product, (np.kron(Q, G) @ V.reshape(-1)).reshape(shape), EXACT)


def op_names(function: object) -> list[str]:
    """Return the names of all Ops of a compiled function, those inside other Ops included."""
    names = []
    for node in function.maker.fgraph.apply_nodes:  # type: ignore[attr-defined]
        names.append(str(node.op))
        inner = getattr(node.op, "fgraph", None)
        names += [str(n.op) for n in inner.apply_nodes] if inner is not None else []
    return names


@pytest.mark.parametrize("mode", on_backends(MODES))
@pytest.mark.parametrize("method", [kfgn.KFRA(), kfgn.KFLR()], ids=["KFRA", "KFLR"])
def test_each_factor_is_factorised_once_and_by_nothing_general(
    method: object, mode: str, rng: np.random.Generator
) -> None:
    case = Case(NETS["tanh"], LOSSES["labels"])
    problem = build(case, case.values(rng), batch_size=4)
    graph = kfgn.trace_layers(problem.loss, problem.params)
    factors = kfgn.curvature_factors(graph, method)
    steps = []
    for layer, factor in factors.items():
        gradient = pt.vertical_stack(
            pytensor.grad(problem.loss, layer.weight),
            pytensor.grad(problem.loss, layer.bias)[None, :],
        )
        steps.append(kfgn.kronecker_solve(factor, gradient, 0.1))
    names = op_names(pytensor.function(problem.inputs, steps, mode=MODES[mode]))
    kinds = ("Cholesky{", "ShiftedSolve", "ShiftedInverse")
    factorised = [n for n in names if n.startswith(kinds)]
    assert len(factorised) == 2 * len(factors)
    assert not [n for n in names if "MatrixInverse" in n or "MatrixPinv" in n]


def test_solve_states_its_damping_symbolically(rng: np.random.Generator) -> None:
    inputs, factors = symbolic(3, 2)
    gamma = pt.scalar("gamma")
    assert gamma in ancestors([kfgn.kronecker_solve(factors, inputs[2], gamma)])
