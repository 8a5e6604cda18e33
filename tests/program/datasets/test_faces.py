from pathlib import Path

import numpy as np
import pytest

from kfgn_graph.program.datasets import load_faces
from kfgn_graph.program.datasets.faces import cut_patches, generate_faces, read_olivetti


def plane(size: int = 64) -> np.ndarray:
    """An image whose value is affine in the row and column: bilinear reading is exact on it."""
    rows, columns = np.mgrid[:size, :size]
    return 2.0 * rows + 0.5 * columns


def test_an_unturned_patch_of_a_plane_is_the_plane_at_the_block_centres() -> None:
    scale = 1.6
    patch = cut_patches(plane(), np.array([0.0]), np.array([scale])).reshape(25, 25)
    at = 31.5 + (64 / scale) * ((np.arange(25) + 0.5) / 25 - 0.5)
    np.testing.assert_allclose(patch, 2.0 * at[:, None] + 0.5 * at[None], rtol=1e-5)


def test_a_quarter_turn_swaps_rows_and_columns() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (64, 64))
    turned, straight = cut_patches(image, np.array([90.0, 0.0]), np.array([1.5, 1.5]))
    expected = np.rot90(straight.reshape(25, 25), k=-1)
    np.testing.assert_allclose(turned.reshape(25, 25), expected, rtol=1e-4)


def test_faces_are_normalised_by_the_training_people_alone() -> None:
    rng = np.random.default_rng(1)
    person = np.repeat(np.arange(40), 2)
    images = rng.uniform(0, 255, (80, 16, 16))
    images[person >= 25] += 1000.0
    made = generate_faces(images, person, patches=3, seed=0)
    patches, owners = made["patches"], made["person"]
    assert patches.shape == (240, 625)
    assert patches.dtype == np.float32
    train = patches[owners < 25]
    np.testing.assert_allclose(train.mean(axis=0), 0.0, atol=1e-4)
    assert np.mean(train**2) == pytest.approx(1.0, rel=1e-4)
    assert patches[owners >= 25].mean() > 10.0


@pytest.mark.needs_data
def test_the_recipe_on_a_few_patches_of_the_real_faces(data_folder: Path) -> None:
    images, person = read_olivetti(data_folder)
    assert images.shape == (400, 64, 64)
    made = generate_faces(images, person, patches=8, seed=0)
    train = made["patches"][made["person"] < 25]
    test = made["patches"][made["person"] >= 30]
    directions = np.linalg.eigh(train.T @ train / len(train))[1][:, -30:]
    error = np.mean(np.sum((test - test @ directions @ directions.T) ** 2, axis=1))
    assert 125 < error < 150
    assert -6 < made["patches"].min() < made["patches"].max() < 4


@pytest.mark.needs_data
def test_the_splits_divide_the_people(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KFGN_CACHE", str(tmp_path))
    monkeypatch.setattr("kfgn_graph.program.datasets.faces.PATCHES", 1)
    people = {}
    for split in ("train", "validation", "test"):
        data = load_faces(split, folder=data_folder)  # type: ignore[arg-type]
        assert data.targets is not None
        people[split] = (len(data.inputs), set(data.targets.tolist()))
    assert people == {
        "train": (250, set(range(25))),
        "validation": (50, set(range(25, 30))),
        "test": (100, set(range(30, 40))),
    }
