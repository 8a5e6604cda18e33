import hashlib
from pathlib import Path

import numpy as np
import pytest

from kfgn_graph.program.datasets.files import (
    DataCorrupt,
    DataFile,
    DataNotFound,
    cache_folder,
    cached_arrays,
    data_folders,
    find,
    write_arrays,
)

CONTENT = b"a data file"
FILE = DataFile("set/file.bin", hashlib.sha256(CONTENT).hexdigest(), origin="a shelf")


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder named by KFGN_DATA and an empty cache; returns the folder of both."""
    monkeypatch.setenv("KFGN_DATA", str(tmp_path / "named"))
    monkeypatch.setenv("KFGN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def put(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / FILE.path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_the_named_folder_comes_before_the_shared_one_and_the_cache(no_data: Path) -> None:
    named, beside, cache = data_folders()
    assert named == no_data / "named"
    assert beside.parts[-2:] == ("shared", "data")
    assert cache == no_data / "cache" / "downloads"


def test_a_folder_given_by_the_caller_is_the_only_one(no_data: Path) -> None:
    put(no_data / "named")
    assert data_folders(no_data / "given") == [no_data / "given"]
    with pytest.raises(DataNotFound):
        find(FILE, no_data / "given")


def test_a_file_is_found_in_the_named_folder_and_in_the_cache(no_data: Path) -> None:
    kept = put(no_data / "cache" / "downloads")
    assert find(FILE) == kept
    named = put(no_data / "named")
    assert find(FILE) == named


def test_a_missing_file_is_told_with_every_place_and_the_remedy(no_data: Path) -> None:
    with pytest.raises(DataNotFound) as caught:
        find(FILE)
    message = str(caught.value)
    for folder in data_folders():
        assert str(folder / FILE.path) in message
    assert "KFGN_DATA" in message
    assert FILE.sha256 in message
    assert "a shelf" in message


def test_an_address_that_does_not_answer_is_told(no_data: Path) -> None:
    closed = "http://127.0.0.1:9/file.bin"
    with pytest.raises(DataNotFound, match=closed):
        find(DataFile(FILE.path, FILE.sha256, (closed,)))


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"!", b""])
def test_a_file_with_another_hash_is_refused(no_data: Path, content: bytes) -> None:
    path = put(no_data / "named", content)
    with pytest.raises(DataCorrupt) as caught:
        find(FILE)
    message = str(caught.value)
    assert str(path) in message
    assert FILE.sha256 in message
    assert hashlib.sha256(content).hexdigest() in message


def test_generated_arrays_are_built_once_and_kept(no_data: Path) -> None:
    calls = []

    def build() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"numbers": np.arange(5)}

    first, path = cached_arrays("numbers-v1-seed0", build)
    again, _ = cached_arrays("numbers-v1-seed0", build)
    assert path == cache_folder() / "generated" / "numbers-v1-seed0.npz"
    np.testing.assert_array_equal(first["numbers"], again["numbers"])
    assert len(calls) == 1


def test_a_damaged_cache_is_refused_and_named(no_data: Path) -> None:
    _, path = cached_arrays("numbers-v1-seed0", lambda: {"numbers": np.arange(500)})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataCorrupt, match="Delete it"):
        cached_arrays("numbers-v1-seed0", lambda: {"numbers": np.arange(500)})


def test_an_interrupted_write_leaves_nothing(no_data: Path) -> None:
    class Unwritable:
        def __array__(self, *_args: object, **_kwargs: object) -> np.ndarray:
            raise KeyboardInterrupt

    path = no_data / "cache" / "half.npz"
    with pytest.raises(KeyboardInterrupt):
        write_arrays(path, {"whole": np.arange(5), "half": Unwritable()})  # type: ignore[dict-item]
    assert list(path.parent.iterdir()) == []
