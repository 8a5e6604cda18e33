"""Fifty adaptive updates against their transcription, number by number."""

from __future__ import annotations

import numpy as np
import pytest

import kfgn_graph as kfgn
from tests.cases import Case, Problem, build
from tests.losses import LOSSES
from tests.nets import chain
from tests.reference.adaptive import AdaptiveTrainer, Recipe, Report
from tests.reference.training import REFRESHED_FIRST
from tests.stepping import METHODS, assert_same_parameters, slow, thorough
from tests.tolerances import ADAPTIVE_TRAJECTORY

NET = chain("small", [5, 4, 3, 2], "tanh")
N = 12

RECIPES = {
    "tied": Recipe(first_ratio=4.0),
    "rejecting": Recipe(groups=3, l2=1e-3, first_damping=0.3, reject_below=0.9),
    "watched": Recipe(groups=3, l2=1e-3, first_damping=0.3, reject_below=0.9, watch=4),
    "searched": Recipe(gamma_every=10, refresh_every=4, l2=1e-3, decay=0.9, reject_below=None),
    "bounded_search": Recipe(
        l2=1e-3, gamma_every=10, gamma_bounds=(0.5, 0.6), reject_below=None, decay=0.9
    ),
    "one_length": Recipe(groups=1, momentum=False, first_damping=0.5, least_ratio=1.5),
    "one_length_with_momentum": Recipe(groups=1, l2=0.02, first_damping=0.3, damping_every=3),
    "lengths_without_momentum": Recipe(groups=5, momentum=False, gamma_every=20, first_ratio=1.0),
    "sampled": Recipe(examples=7, l2=1e-3),
    "seldom": Recipe(
        refresh_every=10, factors_every=5, decay=0.8, reject_below=None, first_ratio=15.0
    ),
}


def compiled(problem: Problem, recipe: Recipe, method: str, backend: str) -> kfgn.Update:
    """Compile the update that a recipe describes."""
    low, high = recipe.gamma_bounds
    gamma = {"gamma_every": recipe.gamma_every, "gamma_minimum": low, "gamma_maximum": high}
    return kfgn.compile_update(
        problem.loss,
        problem.params,
        problem.inputs,
        method=METHODS[method],
        damping=kfgn.LevenbergMarquardt(
            initial=recipe.first_damping,
            initial_ratio=recipe.first_ratio,
            minimum_ratio=recipe.least_ratio,
            every=recipe.damping_every,
            decay=recipe.damping_decay,
            **({"gamma": "search", **gamma} if recipe.gamma_every else {}),
        ),
        step=kfgn.Rescaling(
            momentum=recipe.momentum,
            groups=recipe.groups,
            reject_below=recipe.reject_below,
            watch=recipe.watch,
            examples=recipe.examples,
        ),
        l2=recipe.l2,
        curvature_decay=recipe.decay,
        factors_every=recipe.factors_every,
        refresh_every=recipe.refresh_every,
        average_iterates=True,
        backend=backend,
    )


def trainer_of(
    case: Case, values: dict[str, np.ndarray], recipe: Recipe, method: str
) -> AdaptiveTrainer:
    """Return the transcription at the same parameters."""
    layers = range(len(case.net.layers))
    return AdaptiveTrainer(
        [values[f"W{i}"].copy() for i in layers],
        [values[f"b{i}"].copy() for i in layers],
        case.net.chain or (),
        case.loss.name,
        method,
        recipe,
    )


def updates_of(recipe: Recipe) -> int:
    """Return how many updates are compared: more where not all is due at each of them."""
    return REFRESHED_FIRST + (20 if recipe.factors_every > 1 else 0)


def draws(case: Case, count: int, rng: np.random.Generator) -> list[tuple[np.ndarray, ...]]:
    """Return batches of one task: targets follow from the inputs, up to some noise."""
    teacher = rng.normal(size=(5, 2))

    def batch() -> tuple[np.ndarray, ...]:
        x = rng.normal(size=(N, 5))
        score = np.sin(x @ teacher) + 0.3 * rng.normal(size=(N, 2))
        return x, {
            "half_rows": score,
            "bernoulli": (score > 0).astype("float64"),
            "labels": score.argmax(axis=1),
        }[case.loss.name]

    return [batch() for _ in range(count)]


def assert_reported(stats: kfgn.UpdateStats, wanted: Report) -> None:
    """Compare each number of a report."""
    for name, value in wanted._asdict().items():
        found = getattr(stats, name)
        assert found == pytest.approx(value, rel=ADAPTIVE_TRAJECTORY, nan_ok=True), name
    assert not stats.skipped
    assert not stats.clamped


@pytest.mark.parametrize(
    ("recipe", "method", "loss", "backend"),
    [
        ("tied", "KFRA", "half_rows", "jax"),
        ("searched", "KFLR", "bernoulli", "jax"),
        slow("bounded_search", "KFRA", "bernoulli", "c"),
        thorough("one_length", "KFRA", "labels", "jax"),
        slow("lengths_without_momentum", "KFLR", "half_rows", "jax"),
        ("rejecting", "KFRA", "bernoulli", "jax"),
        thorough("watched", "KFRA", "bernoulli", "jax"),
        slow("watched", "KFRA", "half_rows", "c"),
        slow("watched", "KFRA", "bernoulli", "numba"),
        thorough("sampled", "KFRA", "labels", "jax"),
        slow("sampled", "KFLR", "half_rows", "c"),
        slow("sampled", "KFRA", "half_rows", "numba"),
        slow("tied", "KFRA", "bernoulli", "jax"),
        slow("searched", "KFRA", "half_rows", "jax"),
        slow("one_length_with_momentum", "KFRA", "bernoulli", "jax"),
        slow("seldom", "KFLR", "labels", "jax"),
        slow("searched", "KFLR", "bernoulli", "c"),
        slow("searched", "KFLR", "bernoulli", "numba"),
        slow("seldom", "KFRA", "bernoulli", "c"),
        slow("seldom", "KFRA", "half_rows", "numba"),
    ],
)
def test_updates_are_the_transcription(
    recipe: str, method: str, loss: str, backend: str, rng: np.random.Generator
) -> None:
    case = Case(NET, LOSSES[loss])
    values = case.values(rng)
    problem, trainer = build(case, values), trainer_of(case, values, RECIPES[recipe], method)
    update = compiled(problem, RECIPES[recipe], method, backend)
    reports = []
    for batch in draws(case, updates_of(RECIPES[recipe]), rng):
        reports.append(trainer.update(*batch))
        assert_reported(update(*batch), reports[-1])
        assert_same_parameters(problem, trainer, ADAPTIVE_TRAJECTORY)
    averages = np.concatenate([a.ravel() for a in update.averaged().values()])
    np.testing.assert_allclose(averages, trainer.averaged, rtol=ADAPTIVE_TRAJECTORY, atol=1e-9)
    assert len({r.damping for r in reports}) > 3  # lambda moved
    assert_varied(reports, RECIPES[recipe])


def assert_varied(reports: list[Report], recipe: Recipe) -> None:
    """See that what the recipe asks for took place: else equal numbers would prove nothing."""
    measured = np.isfinite([r.reduction_ratio for r in reports]).sum()
    seldom = len(reports) // recipe.damping_every
    if recipe.watch is not None:
        assert seldom < measured < len(reports)
    else:
        assert measured == (seldom if recipe.reject_below is None else len(reports))
    assert any(r.rejected for r in reports) or recipe.reject_below != 0.9
    momenta = [r.momentum for r in reports]
    assert any(0 < m < 1 for m in momenta) == recipe.momentum
    assert all(0 <= m <= 1 for m in momenta)
    tied = [np.sqrt(r.damping + recipe.l2) for r in reports]
    moved = np.abs(np.array([r.gamma for r in reports]) / tied - 1).max() > 0.1
    assert moved == (recipe.gamma_every is not None)
