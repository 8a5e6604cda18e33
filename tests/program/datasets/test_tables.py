from pathlib import Path

import numpy as np
import pytest

from kfgn_graph.program.datasets import DataNotFound, load_digits, load_uci
from kfgn_graph.program.datasets.uci import TABLES

SHAPES = {
    "concrete": (1030, 8),
    "energy": (768, 8),
    "kin8nm": (8192, 8),
    "naval-propulsion-plant": (11934, 16),
    "power-plant": (9568, 4),
    "protein-tertiary-structure": (45730, 9),
    "wine-quality-red": (1599, 11),
    "yacht": (308, 6),
}


def test_digits_ship_with_scikit_learn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "kfgn_graph.program.datasets.files.data_folders", lambda folder: [tmp_path]
    )
    data = load_digits()
    assert "sklearn" in data.source
    assert data.inputs.shape == (1797, 64)
    assert (data.inputs.min(), data.inputs.max()) == (0.0, 1.0)
    assert data.targets is not None
    np.testing.assert_array_equal(np.unique(data.targets), np.arange(10))


def test_digits_of_a_folder_that_lacks_them_are_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound):
        load_digits(folder=tmp_path)


@pytest.mark.needs_data
@pytest.mark.parametrize("name", TABLES)
def test_every_regression_set(data_folder: Path, name: str) -> None:
    data = load_uci(name, folder=data_folder)
    assert data.targets is not None
    assert data.inputs.shape == SHAPES[name]
    assert data.targets.shape == (SHAPES[name][0],)
    assert data.inputs.dtype == data.targets.dtype == np.float32
    assert np.isfinite(data.inputs).all()
    assert np.unique(data.targets).size > 5


def test_an_unknown_regression_set_is_told_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="concrete, energy"):
        load_uci("boston")
