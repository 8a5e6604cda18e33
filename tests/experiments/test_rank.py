from pathlib import Path

import numpy as np
import pytest

from experiments.rank.losses import LOSSES
from experiments.rank.networks import LayerBlocks, dense_gauss_newton
from experiments.rank.pictures import draw_ranks, draw_spectra
from experiments.rank.study import (
    Setup,
    count_ranks,
    data,
    mixture_hessians,
    problem_of,
    rank_of,
)
from experiments.rank.summary import markdown, span, write_spectra
from experiments.small_networks import compile_in_python

OTHERS = ("squared", "bernoulli")
TINY = Setup(hidden=(4,), counts=(1, 3), seeds=(0,), singles=10)


@pytest.mark.parametrize(
    "name",
    ["mixture", "softmax", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)],
)
def test_ranks_meet_their_bounds(name: str) -> None:
    one, three = count_ranks(name, TINY, seed=0)
    for record, count in ((one, 1), (three, 3)):
        assert record["rank"] == record["bound"] == LOSSES[name].rank * count
        assert record["sampled_rank"] == record["sampled_bound"] == count
        # Few examples: the block of the first layer has all of the rank.
        bound = min(record["bound"], 4 * count)
        assert record["layer_ranks"][0] == bound
        assert record["factored_ranks"]["KFLR"][0] >= bound
    # With several examples Q (x) G has a higher rank than the block that it approximates.
    assert three["factored_ranks"]["KFRA"][0] >= 3 * 3


def test_the_diagonal_blocks_are_those_of_the_dense_matrix() -> None:
    problem, (x, y) = problem_of("softmax", TINY, 0), data("softmax", 0)
    dense = dense_gauss_newton(problem)(x[:3], y[:3])
    blocks, factors = LayerBlocks(problem)(x[:3], y[:3])
    start = 0
    for block in blocks:
        end = start + len(block)
        np.testing.assert_allclose(dense[start:end, start:end], block, atol=1e-12)
        start = end
    assert start == len(dense)
    assert all(len(parts) == 2 * len(blocks) for parts in factors.values())


@pytest.mark.slow
def test_the_mixture_has_rank_one_and_the_hessian_in_its_logits_is_indefinite() -> None:
    found = mixture_hessians(TINY, 0)
    assert found["gauss_newton"] == {"1": 10}
    assert sum(found["hessian"].values()) == 10
    assert found["indefinite"] > 0


def test_the_mixture_is_a_probability_as_in_the_paper() -> None:
    problem, (x, _) = problem_of("mixture", TINY, 0), data("mixture", 0)
    h, q = compile_in_python([problem.x], [problem.logits, problem.output])(x[:5])
    s = 1 / (1 + np.exp(-h))
    np.testing.assert_allclose(q[:, 0], s[:, 0] * s[:, 1] + (1 - s[:, 0]) * s[:, 2], rtol=1e-12)


def test_a_rank_is_to_the_precision_of_float64() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4, 30))
    rank, gap = rank_of(rows.T @ rows)
    assert rank == 4
    assert gap < 1e-12


ROW = {
    "loss": "bernoulli",
    "seed": 0,
    "parameters": 9,
    "bound": 3,
    "sampled_rank": 1,
    "sampled_bound": 1,
    "layer_ranks": [3],
    "layer_sides": [260],
    "factored_ranks": {"KFLR": [4], "KFRA": [6], "KFAC": [2]},
}


def test_tables_and_pictures(tmp_path: Path) -> None:
    records = [ROW | {"examples": count, "rank": count} for count in (1, 3)]
    tables = markdown(records, {"examples": 1, "gauss_newton": {}, "hessian": {}, "indefinite": 0})
    assert "| bernoulli | 1 | 3 | 3 | 3 | 1 | 1 |" in tables
    assert "| bernoulli | 3 | 1 | 260 | 3 | 3 | 4 | 6 | 2 |" in tables
    assert [span([2, 2]), span([3, 1])] == ["2", "1 to 3"]
    spectrum = {
        "loss": "softmax",
        "state": "initial",
        "examples": 2,
        "layer": 1,
        "side": 9,
        "bound": 2,
        "eigenvalues": [1.0, 0.1, 1e-18],
    }
    lines = write_spectra([spectrum], tmp_path / "s.csv").read_text("utf-8").splitlines()
    assert lines[1:3] == ["softmax,initial,2,1,1,1.000e+00", "softmax,initial,2,1,2,1.000e-01"]
    assert draw_ranks(records, tmp_path / "r.png").stat().st_size > 5_000
    assert draw_spectra([spectrum], tmp_path / "p.png").stat().st_size > 5_000
