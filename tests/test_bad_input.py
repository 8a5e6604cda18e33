"""A setting that is not allowed is refused by name, and a backend that is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import scipy

import kfgn_graph as kfgn
from tests.cases import BY_NAME, Problem, build
from tests.stepping import compile_case


@pytest.fixture
def problem(rng: np.random.Generator) -> Problem:
    """A net in good order."""
    case = BY_NAME["tanh-half_rows"]
    return build(case, case.values(rng))


def test_inputs_that_leave_the_graph_incomplete(problem: Problem) -> None:
    with pytest.raises(kfgn.KfgnError, match=r"(?s)\by\b.*inputs"):
        kfgn.compile_update(problem.loss, problem.params, problem.inputs[:1], backend="jax")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"backend": "fortran"}, "fortran"),
        ({"inverse": "magic"}, "magic"),
        ({"curvature_decay": 1.5}, "curvature_decay"),
        ({"curvature_decay": -0.1}, "curvature_decay"),
        ({"refresh_every": 0}, "refresh_every"),
        ({"refresh_every": True}, "refresh_every"),
        ({"factors_every": 0}, "factors_every"),
        ({"factors_every": 2.5}, "factors_every"),
        ({"l2": -1.0}, "l2"),
        ({"inverse": "ekfac"}, "KFLR"),
        ({"damping": "high"}, "damping"),
        ({"step": float("nan")}, "step"),
        ({"step": -1.0}, "step"),
        ({"step": [1]}, "step"),
        ({"l2": "a"}, "l2"),
        ({"l2": np.array([0.1, 0.2])}, "l2"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**70}, "seed"),
        ({"seed": None}, "seed"),
        ({"average_iterates": "no"}, "average_iterates"),
        ({"devices": 1.0, "backend": "jax"}, "devices"),
        ({"output": 3}, "output"),
    ],
    ids=lambda v: str(v),
)
def test_a_setting_that_is_not_allowed(
    settings: dict[str, object], named: str, problem: Problem
) -> None:
    with pytest.raises(kfgn.KfgnError, match=named):
        compile_case(problem, **settings)


def test_parameters_and_inputs_that_are_no_list(problem: Problem) -> None:
    loss, params, inputs = problem.loss, problem.params, problem.inputs
    for wrong in (params[0], {p.name: p for p in params}, None, "W", [params]):
        with pytest.raises(kfgn.ParameterError, match="param"):
            kfgn.compile_update(loss, wrong, inputs, backend="c")
        with pytest.raises(kfgn.ParameterError, match="param"):
            kfgn.trace_layers(loss, wrong)
    for wrong in (inputs[0], {"x": inputs[0]}, None):
        with pytest.raises(kfgn.BatchError, match="inputs"):
            kfgn.compile_update(loss, params, wrong, backend="c")
    update = kfgn.compile_update(loss, (p for p in params), iter(inputs), backend="c")
    assert list(update.graph.parameters) == list(params)


def test_shapes_that_no_layer_has() -> None:
    x = pt.matrix("x")
    W = pytensor.shared(np.ones((2, 3)), name="W")
    short = pytensor.shared(np.ones(2), name="b")
    with pytest.raises(kfgn.ParameterError, match=r"'b'.*\(2,\).*W has 3 outputs"):
        kfgn.trace_layers(((x @ W + short) ** 2).sum(axis=1).mean(), [W, short])
    empty = pytensor.shared(np.ones((2, 0)), name="E")
    with pytest.raises(kfgn.ParameterError, match=r"'E'.*\(2, 0\)"):
        kfgn.trace_layers(((x @ empty) ** 2).sum(axis=1).mean(), [empty])


def test_pieces_refuse_arguments_of_another_type(problem: Problem) -> None:
    graph = kfgn.trace_layers(problem.loss, problem.params)
    with pytest.raises(kfgn.SpecError, match="kfra"):
        kfgn.curvature_factors(graph, "kfra")
    pair = kfgn.curvature_factors(graph, kfgn.KFRA())[graph.layers[0]]
    for call in (
        lambda: kfgn.curvature_factors(None, kfgn.KFRA()),
        lambda: kfgn.gauss_newton_product(None, []),
    ):
        with pytest.raises(kfgn.SpecError, match="trace_layers"):
            call()
    with pytest.raises(kfgn.SpecError, match="gamma"):
        kfgn.kronecker_solve(pair, pt.matrix("V"), -0.1)
    with pytest.raises(kfgn.ParameterError, match="axes"):
        kfgn.gauss_newton_product(graph, [pt.scalar() for _ in graph.parameters])
    with pytest.raises(kfgn.SpecError, match="block"):
        kfgn.HessianFree(block="x")


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_damping_that_is_not_allowed(value: float) -> None:
    with pytest.raises(kfgn.SpecError, match="damping"):
        kfgn.ConstantDamping(value)


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (lambda: kfgn.LevenbergMarquardt(decay=2), "decay"),
        (lambda: kfgn.LevenbergMarquardt(decay=0.0), "decay"),
        (lambda: kfgn.LevenbergMarquardt(initial=-1.0), "initial"),
        (lambda: kfgn.LevenbergMarquardt(initial_ratio=0.0), "initial_ratio"),
        (lambda: kfgn.LevenbergMarquardt(every=0), "every"),
        (lambda: kfgn.LevenbergMarquardt(lower=0.8, upper=0.7), "lower"),
        (lambda: kfgn.LevenbergMarquardt(minimum=2.0, maximum=1.0), "minimum"),
        (lambda: kfgn.LevenbergMarquardt(minimum=-1.0), "minimum"),
        (lambda: kfgn.LevenbergMarquardt(failure_factor=1.0), "failure_factor"),
        (lambda: kfgn.LevenbergMarquardt(gamma="greedy"), "gamma"),
        (lambda: kfgn.LevenbergMarquardt(gamma_every=0), "gamma_every"),
        (lambda: kfgn.LevenbergMarquardt(gamma_minimum=-1.0), "gamma_minimum"),
        (lambda: kfgn.ConstantDamping(gamma_minimum=2.0, gamma_maximum=1.0), "gamma_maximum"),
        (lambda: kfgn.Rescaling(groups=0), "groups"),
        (lambda: kfgn.Rescaling(groups=1.5), "groups"),
        (lambda: kfgn.Rescaling(watch=0), "watch"),
        (lambda: kfgn.NewtonSchulz(iterations=0), "iterations"),
        (lambda: kfgn.HessianFree(iterations=0), "iterations"),
        (lambda: kfgn.HessianFree(tolerance=0.0), "tolerance"),
        (lambda: kfgn.HessianFree(start_decay=1.5), "start_decay"),
    ],
    ids=[f"rule{i}" for i in range(20)],
)
def test_a_rule_that_is_not_allowed(rule, named: str) -> None:
    with pytest.raises(kfgn.SpecError, match=named):
        rule()


def test_a_method_that_only_describes_curvature(problem: Problem) -> None:
    with pytest.raises(kfgn.SpecError, match="method"):
        kfgn.compile_update(
            problem.loss, problem.params, problem.inputs, method=kfgn.BlockHessian()
        )


def test_a_search_for_gamma_where_there_is_none(problem: Problem) -> None:
    with pytest.raises(kfgn.SpecError, match="gamma"):
        kfgn.compile_update(
            problem.loss,
            problem.params,
            problem.inputs,
            method=kfgn.HessianFree(),
            damping=kfgn.LevenbergMarquardt(gamma="search"),
        )


@pytest.mark.parametrize("inverse", ["exact", "ekfac"])
def test_a_search_for_gamma_that_damps_nothing(inverse: str, problem: Problem) -> None:
    with pytest.raises(kfgn.SpecError, match=r"gamma.*eigh"):
        compile_case(
            problem, "KFLR", inverse=inverse, damping=kfgn.LevenbergMarquardt(gamma="search")
        )


def test_a_search_for_gamma_that_comes_seldom_has_finite_candidates() -> None:
    rule = kfgn.LevenbergMarquardt(gamma="search", gamma_every=100_000)
    low, middle, high = rule.gamma_candidates(pt.constant(np.float32(0.1))).eval()
    assert 0 < low < middle < high < 10


def test_the_candidates_of_a_search_for_gamma_stay_in_the_bounds() -> None:
    rule = kfgn.ConstantDamping(gamma="search", gamma_minimum=0.3, gamma_maximum=0.4)
    omega = np.sqrt(19 / 20) ** 20
    for gamma in (0.1, 0.35, 2.0):
        found = rule.gamma_candidates(pt.constant(np.float64(gamma))).eval()
        wanted = np.clip([omega * gamma, gamma, gamma / omega], 0.3, 0.4)
        np.testing.assert_allclose(found, wanted, rtol=1e-14)


@pytest.mark.parametrize("samples", [0, -3])
def test_a_number_of_samples_that_is_not_allowed(samples: int) -> None:
    with pytest.raises(kfgn.SpecError, match="samples"):
        kfgn.KFAC(samples=samples)


@pytest.mark.parametrize("size", [0, -3])
def test_a_chunk_size_that_is_not_allowed(size: int) -> None:
    with pytest.raises(kfgn.SpecError, match="chunk_size"):
        kfgn.KFLR(chunk_size=size)


@pytest.mark.parametrize("backend", ["jax", "numba"])
def test_a_backend_that_is_not_installed(
    backend: str, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(kfgn.BackendError, match=rf"(?s){backend}.*install"):
        compile_case(problem, backend=backend)


def test_the_c_backend_without_blas(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pytensor.config, "blas__ldflags", "")
    # where SciPy's BLAS, and the environment's own, would be
    monkeypatch.setattr(scipy, "__file__", str(tmp_path / "scipy" / "__init__.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(kfgn.BackendError, match=r"(?s)BLAS.*install"):
        compile_case(problem, backend="c")


def test_the_c_backend_without_a_compiler(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytensor.config, "cxx", "")
    with pytest.raises(kfgn.BackendError, match=r"(?s)compiler.*install"):
        compile_case(problem, backend="c")


@pytest.mark.parametrize("name", ["refresh_every", "factors_every"])
def test_a_period_beyond_32_bits_is_refused(name):
    with pytest.raises(kfgn.SpecError, match=f"{name}=2147483648 must be at most 2147483647"):
        kfgn.Settings(**{name: 2**31})
