import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from kfgn_graph.errors import SpecError
from kfgn_graph.program.datasets import DataCorrupt, load_mnist
from kfgn_graph.program.datasets.dataset import bernoulli_floor
from kfgn_graph.program.datasets.mnist import FILES, read_idx


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def test_an_idx_file_is_read_back(tmp_path: Path, rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (5, 3, 2))
    path = tmp_path / "images.gz"
    path.write_bytes(idx(images))
    np.testing.assert_array_equal(read_idx(path), images)


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b"\0\0"),
        gzip.compress(gzip.decompress(idx(np.zeros((4, 4))))[:-1]),
        idx(np.zeros((4, 4)))[:-9],
        idx(np.zeros((4, 4)), kind=13),
    ],
    ids=["no-gzip", "short-header", "missing-bytes", "cut-gzip", "floats"],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(DataCorrupt, match=r"images\.gz"):
        read_idx(path)


def test_files_of_the_right_name_with_other_content_are_refused(tmp_path: Path) -> None:
    for file in FILES["train"]:
        path = tmp_path / file.path
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(idx(np.zeros((2, 2))))
    with pytest.raises(DataCorrupt, match="SHA-256"):
        load_mnist(folder=tmp_path)


@pytest.mark.needs_data
def test_the_first_fifty_thousand_images(data_folder: Path) -> None:
    data = load_mnist(count=50_000, folder=data_folder)
    assert data.inputs.shape == (50_000, 784)
    assert data.inputs.dtype == np.float32
    assert (data.inputs.min(), data.inputs.max()) == (0.0, 1.0)
    assert data.targets is not None
    np.testing.assert_array_equal(data.targets[:6], [5, 0, 4, 1, 9, 2])
    assert bernoulli_floor(data.inputs) == pytest.approx(45.72, abs=0.01)


@pytest.mark.needs_data
def test_the_test_split(data_folder: Path) -> None:
    data = load_mnist("test", folder=data_folder)
    assert data.inputs.shape == (10_000, 784)
    assert data.targets is not None
    np.testing.assert_array_equal(data.targets[:5], [7, 2, 1, 0, 4])


@pytest.mark.needs_data
def test_more_than_there_are_is_refused(data_folder: Path) -> None:
    with pytest.raises(SpecError, match="10000"):
        load_mnist("test", count=10_001, folder=data_folder)
