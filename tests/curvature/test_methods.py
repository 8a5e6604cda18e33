"""What the methods must do beyond being exact: batches, chunks, penalties, sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph.curvature.methods.auto import FEW_OUTPUTS
from tests.cases import BY_NAME, Case, Problem, build
from tests.harness import MODES, PLAIN, assert_close, compile_graph, compiled, evaluate
from tests.losses import LOSSES
from tests.nets import NETS
from tests.reference import dense, recursions
from tests.reference.activations import ACTIVATIONS
from tests.tolerances import EXACT, MONTE_CARLO_CONSTANT, MONTE_CARLO_SLOPE, SINGLE

Factors = dict[str, tuple[np.ndarray, np.ndarray]]
CALLS = 16


def symbolic_factors(problem: Problem, method: object) -> dict[kfgn.Layer, kfgn.KroneckerFactors]:
    """Return the factors of a case by one method."""
    graph = kfgn.trace_layers(problem.loss, problem.params, output=problem.split)
    return kfgn.curvature_factors(graph, method)


def factors_of(
    problem: Problem, method: object, batch: tuple[np.ndarray, ...], mode: str = PLAIN
) -> Factors:
    """Return Q and G of every layer by one method, by the weight's name."""
    factors = symbolic_factors(problem, method)
    outputs = [piece for f in factors.values() for piece in (f.Q, f.G)]
    arrays = iter(compile_graph(problem.inputs, outputs, mode)(*batch))
    return {str(layer.weight.name): (next(arrays), next(arrays)) for layer in factors}


@pytest.mark.parametrize("name", ["residual-bernoulli", "residual-half_rows"])
def test_kfra_of_a_residual_net_is_the_joint_recursion(
    name: str, rng: np.random.Generator
) -> None:
    found, true, values, (x, *_) = evaluate(BY_NAME[name], PLAIN, rng, 5)
    u = x @ values["W0"] + values["b0"]
    slopes = []
    for i in (1, 2):
        a, slope, _ = ACTIVATIONS["tanh"](u @ values[f"W{i}"] + values[f"b{i}"])
        slopes.append(slope)
        u = u + a
    G = true.layers["W3"].G
    assert_close(found.G("KFRA", "W3"), G, EXACT)
    G = values["W3"] @ G @ values["W3"].T
    for i in (2, 1):
        at_h, G = recursions.kfra_residual(values[f"W{i}"], slopes[i - 1], G)
        assert_close(found.G("KFRA", f"W{i}"), at_h, EXACT)
    assert_close(found.G("KFRA", "W0"), G, EXACT)


def test_positions_that_share_a_weight_count_as_examples(rng: np.random.Generator) -> None:
    case = BY_NAME["sequence-squared_3d"]
    found, true, values, (x, *_) = evaluate(case, PLAIN, rng, 5)
    weights, biases = [values["W0"], values["W1"]], [values["b0"], values["b1"]]
    run = recursions.forward(weights, biases, ("tanh",), x.reshape(-1, x.shape[-1]))
    positions = x.shape[1]
    hessian = true.output_hessian.reshape(5, positions, 2, positions, 2)
    rows = np.einsum("ntatb->ntab", hessian).reshape(-1, 2, 2)
    for i, G in enumerate(recursions.kfra(weights, run, rows)):
        assert_close(found.G("KFRA", f"W{i}"), G, EXACT)
        assert_close(found.Q("KFRA", f"W{i}"), true.layers[f"W{i}"].Q, EXACT)


@pytest.mark.parametrize("name", ["tanh_deep-log_softmax", "residual-half_rows", "elu-coupled"])
def test_kflr_does_not_depend_on_the_chunk_size(name: str, rng: np.random.Generator) -> None:
    case = BY_NAME[name]
    problem, batch = build(case, case.values(rng), batch_size=4), case.batch(rng, 4)
    whole = factors_of(problem, kfgn.KFLR(), batch, mode="JAX")
    for size in (1, 2, 100):
        parts = factors_of(problem, kfgn.KFLR(chunk_size=size), batch, mode="JAX")
        for weight, (Q, G) in whole.items():
            assert_close(parts[weight][0], Q, EXACT)
            assert_close(parts[weight][1], G, EXACT)


@pytest.mark.parametrize("method", [kfgn.KFRA(), kfgn.KFLR()], ids=["KFRA", "KFLR"])
def test_a_penalty_leaves_the_factors_alone(method: object, rng: np.random.Generator) -> None:
    with_penalty, without = (
        BY_NAME["tanh-bernoulli-penalised"],
        Case(NETS["tanh"], LOSSES["bernoulli"]),
    )
    values, batch = without.values(rng), without.batch(rng, 5)
    penalised = factors_of(build(with_penalty, values), method, batch)
    plain = factors_of(build(without, values), method, batch)
    for weight, (Q, G) in plain.items():
        assert_close(penalised[weight][0], Q, EXACT)
        assert_close(penalised[weight][1], G, EXACT)


@pytest.mark.parametrize(
    "name",
    [
        "one_layer-half_rows",
        "tanh_deep-log_softmax",
        "residual-bernoulli",
        "elu-coupled",
    ],
)
def test_kfac_approaches_kflr_as_one_over_root_draws(name: str, rng: np.random.Generator) -> None:
    case = BY_NAME[name]
    values, batch = case.values(rng), case.batch(rng, 4)
    problem = build(case, values, batch_size=4)
    true = dense.truth(case, values, batch)
    draws = 4 ** np.arange(2, 7)
    errors = [kfac_error(problem, int(count), batch, true) for count in draws]
    slope, _ = np.polyfit(np.log(draws), np.log(errors), 1)
    assert abs(slope + 0.5) < MONTE_CARLO_SLOPE, (slope, errors)
    assert max(np.array(errors) * np.sqrt(draws)) < MONTE_CARLO_CONSTANT


def kfac_error(
    problem: Problem, draws: int, batch: tuple[np.ndarray, ...], true: dense.Truth
) -> float:
    """Return the relative error of KFAC's factors, as root mean square over layers and calls."""
    factors = symbolic_factors(problem, kfgn.KFAC(samples=draws))
    function = compile_graph(problem.inputs, [f.G for f in factors.values()])
    squares = []
    for _ in range(CALLS):
        for layer, G in zip(factors, function(*batch), strict=True):
            wanted = true.layers[str(layer.weight.name)].G
            squares.append((np.linalg.norm(G - wanted) / np.linalg.norm(wanted)) ** 2)
    return float(np.sqrt(np.mean(squares)))


@pytest.mark.parametrize("mode", MODES.values())
def test_kfac_draws_anew_at_every_call(mode: str, rng: np.random.Generator) -> None:
    case = BY_NAME["tanh-half_rows"]
    problem, batch = build(case, case.values(rng), batch_size=3), case.batch(rng, 3)
    graph = kfgn.trace_layers(problem.loss, problem.params)
    outputs = [f.G for f in kfgn.curvature_factors(graph, kfgn.KFAC()).values()]
    function = pytensor.function(problem.inputs, outputs, mode=mode)
    first, second = function(*batch), function(*batch)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "name", ["leaky-labels", "relu_switch-bernoulli", "swish-bernoulli_naive"]
)
@pytest.mark.parametrize("method", ["KFRA", "KFLR"])
def test_single_precision_agrees_with_double(
    name: str, method: str, rng: np.random.Generator
) -> None:
    case = BY_NAME[name]
    values, batch = case.values(rng), case.batch(rng, 5)
    single = tuple(a.astype("float32") if a.dtype.kind == "f" else a for a in batch)
    choice = {"KFRA": kfgn.KFRA(), "KFLR": kfgn.KFLR()}[method]
    found = factors_of(build(case, values, dtype="float32"), choice, single)
    double = compiled(name, PLAIN)(values, batch)
    for weight, (Q, G) in found.items():
        assert Q.dtype == G.dtype == "float32"
        assert_close(Q, double.Q(method, weight), SINGLE)
        assert_close(G, double.G(method, weight), SINGLE)


def test_auto_takes_the_method_that_fits_the_network() -> None:
    x = pt.matrix("x", shape=(None, 3))
    W = {n: pytensor.shared(np.ones((3, n)), name="W") for n in (FEW_OUTPUTS, FEW_OUTPUTS + 1)}

    def chosen(z: Any, weight: Any) -> Any:
        graph = kfgn.trace_layers(pt.sqr(z).sum(axis=1).mean(), [weight])
        return kfgn.Auto().for_graph(graph)

    few, many = W.values()
    assert chosen(x @ few, few) == kfgn.KFLR()
    assert chosen(pt.tanh(x @ many), many) == kfgn.KFRA()
    h = x @ many
    outer = pt.special.softmax(h[:, :, None] * h[:, None, :], axis=2)[:, :, 0]
    assert chosen(outer, many) == kfgn.KFAC()
    assert chosen(pt.special.softmax(x @ many, axis=1), many) == kfgn.KFRA()
    assert kfgn.Settings(method="kfac").method == kfgn.KFAC()  # type: ignore[arg-type]
    assert kfgn.Settings().method == kfgn.Auto()
    with pytest.raises(kfgn.SpecError, match="auto, kfra"):
        kfgn.Settings(method="adam")  # type: ignore[arg-type]
