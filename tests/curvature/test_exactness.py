"""Where the theory says that a curvature is exact, it is: against brute force, in float64.

Every row of the table of cases makes the claims that hold for it; each claim draws its own
parameters and batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import kfgn_graph as kfgn
from tests.cases import BY_NAME, CASES, Case
from tests.harness import MODES, PLAIN, assert_close, evaluate
from tests.reference import recursions
from tests.tolerances import EXACT

Claim = Callable[[Case, str, np.random.Generator], None]
BATCH = 5
DRAWS = 2

# One of each kind: what `make quick` sees, and the slow run on every backend.
KINDS = (
    "tanh_deep-log_softmax",
    "tanh-heteroscedastic",
    "swish-bernoulli_naive",
    "leaky-labels",
    "transposed-half_rows",
    "linear-half_rows",
    "residual-bernoulli",
    "concatenated-log_softmax",
    "sequence-squared_3d",
    "mixture-probability",
    "library-library_labels",
)
LONG = {"normalised_inside", "relu_residual", "sliced", "exp_tanh", "softsign", "linear_no_bias"}
EVERYDAY = (
    ("one_layer-half_rows", "CVM"),
    ("one_layer-half_rows", "NUMBA"),
    ("tanh-half_rows", "JAX"),
    ("leaky-labels", "JAX"),
)


def with_one_example_factors_are_the_block(
    case: Case, mode: str, rng: np.random.Generator
) -> None:
    for _ in range(DRAWS):
        found, true, *_ = evaluate(case, mode, rng, 1)
        for weight, layer in true.layers.items():
            for method in ("KFLR", "KFRA") if case.net.structured else ("KFLR",):
                block = np.kron(found.Q(method, weight), found.G(method, weight))
                assert_close(block, layer.gauss_newton_block, EXACT)
                assert_close(found.block(method, weight), block, EXACT)


def block_hessian_is_the_autodiff_hessian(case: Case, mode: str, rng: np.random.Generator) -> None:
    for n in (1, BATCH):
        found, true, *_ = evaluate(case, mode, rng, n)
        for weight, layer in true.layers.items():
            assert_close(found.block("BlockHessian", weight), layer.hessian_block, EXACT)


def block_gauss_newton_is_dense_gauss_newton(
    case: Case, mode: str, rng: np.random.Generator
) -> None:
    for n in (1, BATCH):
        found, true, *_ = evaluate(case, mode, rng, n)
        for weight, layer in true.layers.items():
            block = found.block("BlockGaussNewton", weight)
            assert_close(block, layer.gauss_newton_block, EXACT)


def kflr_sums_the_examples(case: Case, mode: str, rng: np.random.Generator) -> None:
    for _ in range(DRAWS):
        found, true, *_ = evaluate(case, mode, rng, BATCH)
        for weight, layer in true.layers.items():
            assert_close(found.G("KFLR", weight), layer.G, EXACT)
            assert_close(found.Q("KFLR", weight), layer.Q, EXACT)


def in_linear_nets_factors_are_exact(case: Case, mode: str, rng: np.random.Generator) -> None:
    for _ in range(DRAWS):
        found, true, *_ = evaluate(case, mode, rng, BATCH)
        for weight, layer in true.layers.items():
            for method in ("KFLR", "KFRA", "BlockHessian", "BlockGaussNewton"):
                assert_close(found.block(method, weight), layer.gauss_newton_block, EXACT)
            assert_close(layer.hessian_block, layer.gauss_newton_block, EXACT)


def piecewise_linear_hessian_is_gauss_newton(
    case: Case, mode: str, rng: np.random.Generator
) -> None:
    found, true, *_ = evaluate(case, mode, rng, BATCH)
    for weight in true.layers:
        hessian = found.block("BlockHessian", weight)
        assert_close(hessian, found.block("BlockGaussNewton", weight), EXACT)
        assert np.linalg.eigvalsh(hessian).min() >= -EXACT * np.abs(hessian).max()


def kfra_is_the_batch_recursion(case: Case, mode: str, rng: np.random.Generator) -> None:
    for _ in range(DRAWS):
        found, true, values, (x, *_targets) = evaluate(case, mode, rng, BATCH)
        layers = case.net.layers
        weights = [values[s.weight].T if s.transposed else values[s.weight] for s in layers]
        biases = [values[s.bias] if s.bias else None for s in layers]
        run = recursions.forward(weights, biases, case.net.chain or (), x)
        factors = recursions.kfra(weights, run, true.output_hessian)
        for spec, G in zip(layers, factors, strict=True):
            if spec in case.layers:
                assert_close(found.G("KFRA", spec.weight), G, EXACT)
                assert_close(found.Q("KFRA", spec.weight), true.layers[spec.weight].Q, EXACT)


def at_the_last_layer_kfra_is_kflr(case: Case, mode: str, rng: np.random.Generator) -> None:
    found, true, *_ = evaluate(case, mode, rng, BATCH)
    last = case.net.layers[-1].weight
    assert_close(found.G("KFRA", last), true.layers[last].G, EXACT)
    assert_close(found.G("KFLR", last), true.layers[last].G, EXACT)


def curvature_of_a_loss_that_is_not_convex_is_semidefinite(
    case: Case, mode: str, rng: np.random.Generator
) -> None:
    for n in (1, BATCH):
        found, true, *_ = evaluate(case, mode, rng, n)
        assert np.linalg.eigvalsh(true.output_hessian).min() < 0 or n == 1
        for weight in true.layers:
            for method in ("KFRA", "KFLR"):
                G = found.G(method, weight)
                assert np.linalg.eigvalsh(G).min() >= -EXACT * np.abs(G).max()
                assert np.abs(G).max() > 0


def kfra_refuses_and_names_what_can(case: Case, mode: str, rng: np.random.Generator) -> None:
    found, *_ = evaluate(case, mode, rng, 1)
    with pytest.raises(kfgn.CurvatureRuleNotFound, match="KFLR"):
        found.G("KFRA", case.net.layers[0].weight)


def claims(case: Case) -> Iterator[Claim]:
    """Yield what holds for a case."""
    if not case.loss.convex:
        yield curvature_of_a_loss_that_is_not_convex_is_semidefinite
    else:
        yield block_gauss_newton_is_dense_gauss_newton
        yield kflr_sums_the_examples
        if not case.net.shared:
            yield with_one_example_factors_are_the_block
    if not case.net.structured:
        yield kfra_refuses_and_names_what_can
        return
    yield block_hessian_is_the_autodiff_hessian
    if case.linear:
        yield in_linear_nets_factors_are_exact
    if case.loss.convex and case.net.chain is not None:
        yield kfra_is_the_batch_recursion
    if case.net.piecewise_linear and not case.net.shared and case.loss.convex:
        yield piecewise_linear_hessian_is_gauss_newton
    if case.loss.convex and case.net.layers[-1] in case.layers and len(case.net.layers) > 1:
        if case.net.name not in {"split", "sliced", "mixture"}:
            yield at_the_last_layer_kfra_is_kflr


def check(case: Case, mode: str, rng: np.random.Generator) -> None:
    """Make every claim of a case; report all that fail, not the first alone."""
    failures = []
    for claim in claims(case):
        try:
            claim(case, mode, rng)
        except (AssertionError, kfgn.KfgnError) as error:
            error.add_note(f"claim: {claim.__name__}")
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{case.name} on {mode}: {len(failures)} claims fail", failures)


def row(case: Case) -> object:
    """Return a parameter of the test below; the graphs that take longest wait for the slow run."""
    marks = []
    if case.name not in KINDS:
        marks.append(pytest.mark.thorough)
    if case.net.name in LONG:
        marks.append(pytest.mark.slow)
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [row(case) for case in CASES])
def test_the_graph_as_it_is_built(case: Case, rng: np.random.Generator) -> None:
    check(case, PLAIN, rng)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "mode"), EVERYDAY)
def test_a_few_on_every_backend(name: str, mode: str, rng: np.random.Generator) -> None:
    check(BY_NAME[name], mode, rng)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("mode", MODES.values())
def test_every_kind_on_every_backend(name: str, mode: str, rng: np.random.Generator) -> None:
    check(BY_NAME[name], mode, rng)
