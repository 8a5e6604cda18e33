from pathlib import Path

import numpy as np
import pytest

from kfgn_graph.program.datasets import curves
from kfgn_graph.program.datasets.dataset import bernoulli_floor


def test_a_straight_horizontal_curve_has_a_gaussian_profile() -> None:
    points = np.array([[[10.5, 4.5], [10.5, 14.5], [10.5, 24.5]]], np.float32)
    image = curves.draw_curves(points).reshape(28, 28)
    distances = np.arange(28) - 10.0
    np.testing.assert_allclose(image[:, 14], np.exp(-(distances**2) / 2), atol=2e-3)
    beyond_the_end = np.exp(-((26.5 - 24.5) ** 2) / 2)
    assert image[10, 26] == pytest.approx(beyond_the_end, abs=1e-6)


def test_the_curve_runs_through_its_three_points() -> None:
    points = np.floor(curves.random_points(20, seed=3)) + np.float32(0.5)
    images = curves.draw_curves(points).reshape(-1, 28, 28)
    for image, (start, middle, end) in zip(images, points.astype(int), strict=True):
        assert image[tuple(start)] == pytest.approx(1.0)
        assert image[tuple(middle)] == pytest.approx(1.0, abs=0.02)
        assert image[tuple(end)] == pytest.approx(1.0)


def test_the_statistics_are_the_recipe_s() -> None:
    images = curves.draw_curves(curves.random_points(3000, seed=0))
    assert images.shape == (3000, 784)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.mean() == pytest.approx(0.060, abs=0.001)
    assert bernoulli_floor(images) == pytest.approx(46.4, abs=0.7)
    centred = images - images.mean(axis=0)
    variances = np.linalg.eigvalsh(centred.T @ centred / len(images))
    assert variances.sum() == pytest.approx(23.3, abs=0.5)
    assert 5.7 < variances[:-18].sum() < 6.3


def test_both_splits_are_kept_and_differ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KFGN_CACHE", str(tmp_path))
    monkeypatch.setattr(curves, "COUNTS", {"train": 30, "test": 20})
    train, test = curves.load_curves("train"), curves.load_curves("test")
    assert (len(train.inputs), len(test.inputs)) == (30, 20)
    assert not np.array_equal(train.inputs[:20], test.inputs)
    assert [path.name for path in (tmp_path / "generated").iterdir()] == ["curves-v1-seed0.npz"]
    other = curves.load_curves("train", seed=1)
    assert not np.array_equal(train.inputs, other.inputs)
