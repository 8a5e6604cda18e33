"""Figure 3 at a tiny size: Eq. (27), its Gauss-Newton and Fisher matrices, and a run."""

from pathlib import Path

import numpy as np
import pytensor
import pytest
from rich.console import Console

import kfgn_graph as kfgn
from experiments.curves import complete_curves
from experiments.figure3 import network
from experiments.figure3.plan import Figure3Plan, lines
from experiments.studies import run_missing

pytestmark = pytest.mark.filterwarnings("ignore:Skipping Assert:UserWarning")

GRAPH = """
from experiments.figure3.network import build_mixture

def mixture_float64(seed):
    return build_mixture((64, 5, 3), seed, "float64")
"""


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def likelihood(h: np.ndarray, y: int) -> np.ndarray:
    """Eq. (27) as the paper writes it."""
    h1, h2, h3 = h.T
    return sigmoid(h1) * sigmoid(h2) ** y * sigmoid(-h2) ** (1 - y) + (1 - sigmoid(h1)) * sigmoid(
        h3
    ) ** y * sigmoid(-h3) ** (1 - y)


def test_the_loss_is_the_cross_entropy_of_equation_27() -> None:
    rng = np.random.default_rng(0)
    loss, parameters, inputs, q = network.build_mixture((4, 3), 0, "float64")
    x, digits = rng.normal(size=(20, 4)), rng.integers(0, 10, 20)
    found, probability = pytensor.function(inputs, [loss, q], mode="FAST_COMPILE")(x, digits)
    h = x @ parameters[0].get_value() + parameters[1].get_value()
    np.testing.assert_allclose(likelihood(h, 0) + likelihood(h, 1), 1)
    np.testing.assert_allclose(probability, likelihood(h, 1), rtol=1e-12)
    true = np.where(digits % 2 == 1, likelihood(h, 1), likelihood(h, 0))
    np.testing.assert_allclose(found, -np.log(true).mean(), rtol=1e-12)


def test_kflr_has_the_gauss_newton_matrix_at_q_and_kfac_the_fisher_matrix() -> None:
    rng = np.random.default_rng(1)
    loss, parameters, inputs, q = network.build_mixture((4, 3), 0, "float64")
    x, digits = rng.normal(size=(30, 4)), rng.integers(0, 10, 30)
    graph = kfgn.trace_layers(loss, parameters, output=q)
    (layer,) = graph.layers
    methods = (kfgn.KFLR(), kfgn.KFAC(samples=2000))
    factors = [kfgn.curvature_factors(graph, method)[layer].G for method in methods]
    compiled = pytensor.function(inputs, factors, mode="FAST_COMPILE", on_unused_input="ignore")
    by_kflr, by_kfac = compiled(x, digits)
    h = x @ parameters[0].get_value() + parameters[1].get_value()
    a, b, c = sigmoid(h).T
    p = a * b + (1 - a) * c
    slopes = np.stack([a * (1 - a) * (b - c), a * b * (1 - b), (1 - a) * c * (1 - c)])
    y = digits % 2
    gauss_newton = (slopes * (y / p**2 + (1 - y) / (1 - p) ** 2)) @ slopes.T / 30
    fisher = (slopes / (p * (1 - p))) @ slopes.T / 30
    np.testing.assert_allclose(by_kflr, gauss_newton, rtol=1e-9)
    np.testing.assert_allclose(by_kfac, fisher, atol=0.05 * np.abs(fisher).max())
    assert np.abs(fisher - gauss_newton).max() > 0.1 * np.abs(fisher).max()


def test_an_example_has_a_matrix_of_rank_one() -> None:
    loss, parameters, inputs, q = network.build_mixture((4, 3), 0, "float64")
    graph = kfgn.trace_layers(loss, parameters, output=q)
    (layer,) = graph.layers
    G = kfgn.curvature_factors(graph, kfgn.KFLR())[layer].G
    compiled = pytensor.function(inputs, G, mode="FAST_COMPILE", on_unused_input="ignore")
    values = np.linalg.eigvalsh(compiled(np.ones((1, 4)), np.array([3])))
    assert values[-1] > 1e-3
    assert np.abs(values[:-1]).max() < 1e-12 * values[-1]


@pytest.mark.parametrize(("dtype", "unit"), [("float32", 2.0**-24), ("float64", 2.0**-53)])
def test_the_loss_of_an_odd_digit_is_a_multiple_of_the_rounding_unit(
    dtype: str, unit: float
) -> None:
    loss, parameters, inputs, _ = network.build_mixture((1, 3), 0, dtype)
    for parameter in parameters:
        parameter.set_value(np.zeros_like(parameter.get_value()))
    evaluate = pytensor.function(inputs, loss, mode="FAST_COMPILE")
    for logit in (12.0, 15.0, 30.0, 40.0):
        parameters[1].set_value(np.full(3, logit, dtype))
        odd = float(evaluate(np.zeros((1, 1), dtype), np.array([1])))
        assert odd == pytest.approx(unit * round(odd / unit), rel=1e-4, abs=0)
        assert abs(odd - np.log1p(np.exp(-logit))) < 3 * unit


@pytest.mark.thorough
def test_runs_are_those_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny_mixture.py").write_text(GRAPH)
    monkeypatch.setattr("experiments.studies.ROOT", tmp_path)
    plan = Figure3Plan(
        dtype="float64",
        budget=0.001,
        seeds=(0,),
        graph="tiny_mixture:mixture",
        data={"name": "digits", "examples": 100},
        batch=50,
        backend="jax",
    )
    wanted = [t for t in plan.second_order() if "defaults" in t.setting][:1]
    run_missing(wanted, tmp_path / "runs", Console(quiet=True))
    (found,) = complete_curves(wanted, tmp_path / "runs")
    assert len(found.losses) == 5
    assert found.final < found.evaluations[0][2]
    assert [line.label for line in lines([found], "defaults")] == ["KFLR"]
