import io
import struct
import warnings
import zipfile

import numpy as np
import pytest

from kfgn_graph.program.archives import Archive, Unreadable


def npy(shape: str, kind: str = "<f4", data: bytes = b"") -> bytes:
    """Return an .npy file that declares any shape and type."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def archive(tmp_path, **entries: bytes):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name.replace("__", "."), content)
    return path


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, rng, shape, order):
    path = tmp_path / "a.npz"
    array = np.asarray(rng.normal(size=shape), order=order)
    np.savez_compressed(path, a=array, b=np.arange(3))
    with Archive(path) as file:
        assert file.names == ["a", "b"]
        np.testing.assert_array_equal(file["a"], array, strict=True)
        assert file["b"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("(15000000000,)"), "declares 60,000,000,000 bytes"),
        (npy("(1,)", data=bytes(99)), "does not have the 4 bytes"),
        (npy("(9**99,)"), "not an .npy file"),
        (npy("(3,)", "|O", bytes(24)), "it holds object, not numbers"),
        (npy("(3,)\x00"), "not an .npy file"),
        (b"1,2\n3,4\n", "not an .npy file"),
        (b"", "not an .npy file"),
    ],
)
def test_what_is_no_array_is_told(tmp_path, content, message):
    with Archive(archive(tmp_path, a__npy=content)) as file:
        with pytest.raises(Unreadable, match="a: ") as caught:
            file["a"]
    assert message in str(caught.value)


def test_a_damaged_header_warns_of_nothing(tmp_path):
    with Archive(archive(tmp_path, a__npy=npy("(3,)", "\\e"))) as file:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            with pytest.raises(Unreadable, match=r"not an \.npy file"):
                file["a"]
    assert seen == []


def test_an_array_of_more_than_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("kfgn_graph.program.archives.physical_memory", lambda: 1000)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(100), b=np.zeros(100))
    with Archive(path) as file:
        assert file["a"].size == 100
        with pytest.raises(Unreadable, match="more than the memory"):
            file["b"]


@pytest.mark.parametrize("names", [["x.npy", "x.npy"], ["x", "x.npy"]])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path, names):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, npy("(1,)", data=bytes(4)))
    with pytest.raises(Unreadable, match="it has 2 arrays of the name 'x'"):
        Archive(path)


def test_one_array_without_a_name_is_told(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    path = tmp_path / "a.npy"
    path.write_bytes(stream.getvalue())
    with pytest.raises(Unreadable, match="one array without a name"):
        Archive(path)
