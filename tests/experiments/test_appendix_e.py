from pathlib import Path

import numpy as np
import pytest

from experiments.appendix_e.ascent import Climb, End, climb, of_curvature
from experiments.appendix_e.pictures import draw_statements
from experiments.appendix_e.ranks import count_ranks
from experiments.appendix_e.semidefinite import count_signs, relative_minimum
from experiments.appendix_e.study import HOLDS, NOT_CONVEX, RANK_CASES, SMOOTH, group_of
from experiments.appendix_e.summary import markdown
from experiments.small_networks import numerical_rank


@pytest.mark.parametrize(
    ("activation", "loss", "holds"),
    [("relu", "softmax", True), ("tanh", "squared", False), ("relu", "double-well", False)],
)
def test_curvature_is_semidefinite_only_under_the_assumptions(
    activation: str, loss: str, holds: bool
) -> None:
    found = count_signs(activation, loss, layers=2, points=8, seed=0)
    assert found.points == 8
    assert found.blocks == 16
    assert found.autodiff_error < 1e-12
    assert (found.indefinite_preactivation == 0) is holds
    assert (found.indefinite_blocks == 0) is holds
    assert found.negative_trace == 0 or not holds
    assert found.indefinite_full > 0  # across layers there is negative curvature even so


def test_the_smallest_eigenvalue_is_relative() -> None:
    matrices = np.stack([np.diag([4.0, -2.0]), np.diag([1.0, 0.0]), np.zeros((2, 2))])
    np.testing.assert_allclose(relative_minimum(matrices), [-0.5, 0, 0])


def test_stationary_points_are_told_apart() -> None:
    assert of_curvature(np.diag([-2.0, -1.0])) is End.STRICT
    assert of_curvature(np.diag([-2.0, 0.0])) is End.WEAK
    assert of_curvature(np.diag([-2.0, 1.0])) is End.OTHER
    assert of_curvature(np.zeros((2, 2))) is End.FLAT


def test_ascent_finds_smooth_maxima_only_without_the_assumptions() -> None:
    def tiny(activation: str) -> Climb:
        return Climb(activation, "bernoulli", 0, sizes=(1, 1, 1), examples=8, spread=1.0)

    held, smooth = climb(tiny("abs"), 20, 0, 1000), climb(tiny("tanh"), 20, 0, 1000)
    assert held.total() == smooth.total() == 20
    assert held[End.STRICT] == held[End.WEAK] == held[End.UNFINISHED] == 0
    assert held[End.KINK] > 0
    assert smooth[End.STRICT] > 0
    planted = Climb("leaky", "double-well", 1, True, (2, 3, 3, 2), examples=60)
    assert climb(planted, 5, 0, 300)[End.STRICT] > 0


def test_ranks_fall_with_relu_and_stay_with_a_slope() -> None:
    relu = count_ranks("relu", "relu", "squared", (6, 6, 6), networks=2, seed=0)
    leaky = count_ranks("leaky", "leaky", "squared", (6, 6, 6), networks=2, seed=0)
    tanh = count_ranks("tanh", "tanh", "squared", (6, 6, 1), networks=2, seed=0)
    assert (relu.rises, leaky.rises, leaky.falls) == (0, 0, 0)
    assert relu.falls > 0
    assert relu.formula == relu.steps == leaky.formula == leaky.steps == 2 * 10
    assert max(relu.gap, leaky.gap) < 1e-4
    assert leaky.mean == [6, 6]
    assert tanh.rises > 0  # D of Eq. (8) adds rank to the one of a single output


def test_a_rank_is_that_of_the_eigenvalues_above_the_tolerance() -> None:
    ranks, gap = numerical_rank(np.stack([np.diag([1.0, 1e-3, 1e-14]), np.zeros((3, 3))]), 1e-9)
    assert ranks.tolist() == [2, 0]
    assert gap == pytest.approx(1e-11)


def test_tables_and_picture_hold_every_case(tmp_path: Path) -> None:
    assert [group_of("relu", "softmax"), group_of("tanh", "squared")] == [HOLDS, SMOOTH]
    assert group_of("tanh", "cauchy") == NOT_CONVEX
    sign = {
        "points": 4,
        "preactivation": 8,
        "indefinite_preactivation": 2,
        "blocks": 4,
        "indefinite_blocks": 1,
        "indefinite_full": 3,
        "negative_trace": 0,
        "lowest": -0.5,
        "autodiff_error": 1e-16,
    }
    ascent = {"activation": "relu", "layer": None, "planted": False, "sizes": (2, 3, 1)}
    rank = {"mean": [2.0, 3.0], "steps": 9, "falls": 1, "rises": 0, "formula": 9, "gap": 0.0}
    results = {
        "signs": [{"group": HOLDS, **sign}, {"group": HOLDS, **sign}],
        "climbs": [{"group": HOLDS, **ascent, "ends": {"kink": 3}}] * 2,
        "ranks": [{"name": name, **rank} for name, *_ in RANK_CASES],
    }
    tables = markdown(results)
    assert f"| {HOLDS} | 8 | 16 | 4 | 8 | 2 | 6 | 0 | -5.0e-01 | 1.0e-16 |" in tables
    assert f"| {HOLDS} | relu | all layers, 2-3-1 | 0 | 6 | 0 |" in tables
    assert "| ReLU | 3, 2 | 9 | 1 | 0 | 9 | 0e+00 |" in tables
    assert draw_statements(results, tmp_path / "p.png").stat().st_size > 10_000
