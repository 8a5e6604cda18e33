"""Tracing finds the user's own parameters, and leaves the user's graph as it was."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt

import kfgn_graph as kfgn
from kfgn_graph.printing import created_at
from tests.cases import BY_NAME, build


def test_tracing_changes_nothing_of_the_users(rng: np.random.Generator) -> None:
    case = BY_NAME["residual-bernoulli"]
    values = case.values(rng)
    problem = build(case, values)
    before = pytensor.dprint(problem.loss, file="str", print_type=True)
    graph = kfgn.trace_layers(problem.loss, problem.params)
    kfgn.curvature_factors(graph, kfgn.KFRA())
    assert pytensor.dprint(problem.loss, file="str", print_type=True) == before
    for name, variable in problem.shared.items():
        np.testing.assert_array_equal(variable.get_value(), values[name])
        assert variable.name == name


def test_a_variable_of_a_helper_of_pytensor_names_the_users_line() -> None:
    x, _ = pt.matrices("x", "y")
    assert created_at(x).startswith(f" (created at {__file__}:")


def test_layers_are_the_users_own_in_forward_order(rng: np.random.Generator) -> None:
    case = BY_NAME["tanh_deep-log_softmax"]
    problem = build(case, case.values(rng))
    for params in (problem.params, problem.params[::-1]):
        graph = kfgn.trace_layers(problem.loss, params)
        assert [layer.name for layer in graph.layers] == ["W0", "W1", "W2", "W3"]
        for layer, spec in zip(graph.layers, case.layers, strict=True):
            assert layer.weight is problem.shared[spec.weight]
            assert layer.bias is problem.shared[str(spec.bias)]


def test_the_order_of_layers_does_not_depend_on_declared_shapes() -> None:
    for declared in (False, True):
        shapes = {"H": (3, 4), "A": (4, 2), "B": (4, 3)}
        H, A, B = (
            pytensor.shared(np.ones(s), name=n, shape=s if declared else (None, None))
            for n, s in shapes.items()
        )
        x, y, k = pt.matrix("x"), pt.matrix("y"), pt.lvector("k")
        h = pt.tanh(x @ H)
        chosen = pt.special.log_softmax(h @ B, axis=1)[pt.arange(k.size), k]
        loss = 2 * ((h @ A - y) ** 2).sum(axis=1).mean() - 0.5 * chosen.mean()
        for given, wanted in (([H, A, B], "HAB"), ([B, A, H], "HBA")):
            layers = kfgn.trace_layers(loss, given).layers
            assert "".join(layer.name for layer in layers) == wanted
