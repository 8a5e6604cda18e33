"""Data in files of the user's: tables, .npy and idx files, and keys set on the command line."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from kfgn_graph.errors import SpecError
from kfgn_graph.program.building import build
from kfgn_graph.program.datasets import DataCorrupt, DataNotFound
from kfgn_graph.program.sources import load_source
from kfgn_graph.program.spec import parse_spec
from kfgn_graph.program.spec.models import DataSpec, kind_of
from kfgn_graph.program.tables import MOST_CATEGORIES, read_table

HOUSES = """area,town,zip,price
50,Bath,1,100.5
70,"Ely, north",2,150

40,Bath,1,90
"""


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    path = tmp_path / "houses.csv"
    path.write_text(HOUSES, "utf-8-sig")
    return path


def test_numbers_and_categories_become_columns(houses: Path) -> None:
    table = read_table(houses, "price", categorical=["zip"])
    assert table.names == ("area", "town=Bath", "town=Ely, north", "zip=1", "zip=2")
    expected = [[50, 1, 0, 1, 0], [70, 0, 1, 0, 1], [40, 1, 0, 1, 0]]
    np.testing.assert_array_equal(table.inputs, expected)
    np.testing.assert_array_equal(table.targets, [100.5, 150, 90])
    assert table.targets.dtype == np.float64
    assert read_table(houses, "zip", columns=["area"]).targets.dtype == np.int64
    assert read_table(houses, None).targets is None
    town = read_table(houses, "town", columns=["zip", "area"])
    assert town.classes == ("Bath", "Ely, north")
    np.testing.assert_array_equal(town.targets, [0, 1, 0])
    np.testing.assert_array_equal(town.inputs, [[1, 50], [2, 70], [1, 40]])


def test_tabs_separate_the_entries_of_tsv(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("x\ty\n1e3\t-2\n", "utf-8")
    table = read_table(path, "y")
    np.testing.assert_array_equal(table.inputs, [[1000.0]])
    np.testing.assert_array_equal(table.targets, [-2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\nx,3\n", r'line 3, column "a": found "x" in a column of numbers'),
        ("a,b\n1,2\n,3\n", r'line 3, column "a": the entry is missing'),
        ("a,b\n,2\n1,3\n", r'line 2, column "a": the entry is missing'),
        ("a,b\nu,2\n ,3\n", r'line 3, column "a": the entry is missing'),
        ("a,b\n1,2\n\nnan,3\n", r'line 4, column "a": found "nan", which is not finite'),
        ("a,b\n1,2\n1\n", r"line 3: found 1 entries; the first line names 2 columns"),
        ("a,a\n1,2\n", r'line 1: two columns are named "a"'),
        ("a,\n1,2\n", r"line 1: a column has no name"),
        ("a,b\n", "has no examples"),
        ("", "has no examples"),
        ('a,b\n"1,2\n', "not a readable table"),
    ],
)
def test_a_damaged_table_is_named_with_line_and_column(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content, "utf-8")
    with pytest.raises(DataCorrupt, match=message):
        read_table(path, None)


def test_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(DataCorrupt, match="in UTF-8"):
        read_table(path, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "prise"}, r'data.target: no column "prise" .*did you mean "price"'),
        ({"target": "price", "columns": ["size"]}, r'data.columns: no column "size"'),
        ({"target": "price", "columns": ["price"]}, "is the target; leave it out"),
        ({"target": None, "categorical": ["x"]}, 'data.categorical: no column "x"'),
    ],
)
def test_columns_that_the_table_lacks(
    houses: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        read_table(houses, **settings)


def test_a_column_of_identifiers_and_a_table_without_examples(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n" + "".join(f"n{i}\n" for i in range(MOST_CATEGORIES + 1)), "utf-8")
    with pytest.raises(SpecError, match="1,001 categories"):
        read_table(path, None)
    with pytest.raises(SpecError, match="has no other column"):
        read_table(path, "a")


SPEC = """
loss = "{loss}"
batch = 2
network = {{ hidden = [2] }}
data = {{ file = "houses.csv", target = "{target}", standardise = true }}
budget = {{ updates = 1 }}
"""


def test_a_spec_trains_on_a_table(houses: Path) -> None:
    task = build(parse_spec(SPEC.format(loss="squared", target="price"), "toml"), houses.parent)
    inputs, targets = task.arrays
    assert inputs.shape == (3, 4)
    assert targets.shape == (3, 1)
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(targets.std(), 1, rtol=1e-6)
    assert task.source.endswith("columns area, town=Bath, town=Ely, north, zip; target price")
    task = build(parse_spec(SPEC.format(loss="softmax", target="town"), "toml"), houses.parent)
    np.testing.assert_array_equal(task.arrays[1], [0, 1, 0])
    with pytest.raises(SpecError, match=r'classes Bath, Ely, north, which need loss = "softmax"'):
        build(parse_spec(SPEC.format(loss="squared", target="town"), "toml"), houses.parent)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('file = "a.npz", target = "y"', "belongs to file, a table"),
        ('file = "a.csv", arrays = ["y"]', "belongs to file, an .npz file"),
        ('file = "a.csv", targets = "b.npy"', "belongs to file, a .npy or idx file"),
        ('name = "digits", categorical = ["y"]', "belongs to file, a table"),
    ],
)
def test_keys_belong_to_kinds_of_files(keys: str, message: str) -> None:
    text = SPEC.format(loss="squared", target="y")
    data = next(line for line in text.splitlines() if line.startswith("data"))
    with pytest.raises(SpecError, match=message):
        parse_spec(text.replace(data, f"data = {{ {keys} }}"), "toml")


def idx(array: np.ndarray, kind: int) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return header + array.tobytes()


def test_npy_and_idx_files_are_read(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(4, 3)
    labels = np.array([0, 1, 0, 1], np.uint8)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "y-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels, 8)))
    (tmp_path / "z.idx").write_bytes(idx(x.astype(">f4"), 0xD))
    source = load_source(DataSpec(file="x.npy", targets="y-idx1-ubyte.gz"), tmp_path)
    np.testing.assert_array_equal(source.arrays[0], x)
    assert isinstance(source.arrays[0], np.memmap)
    np.testing.assert_array_equal(source.arrays[1], labels)
    (found,) = load_source(DataSpec(file="z.idx"), tmp_path).arrays
    np.testing.assert_array_equal(found, x)
    assert found.dtype == np.float32
    assert found.dtype.isnative


def test_npy_and_idx_files_that_cannot_be_read(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "a.npy").write_bytes(b"damaged")
    (tmp_path / "a.idx").write_bytes(idx(np.zeros(4, np.uint8), 8)[:-1])
    (tmp_path / "b.idx").write_bytes(idx(np.zeros(4, np.uint8), 7))
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    for name in ("o.npy", "a.npy", "a.idx", "b.idx"):
        with pytest.raises(DataCorrupt, match="not a readable"):
            load_source(DataSpec(file=name), tmp_path)
    with pytest.raises(DataNotFound, match=r"data\.targets is relative"):
        load_source(DataSpec(file="x.npy", targets="none.npy"), tmp_path)
    with pytest.raises(SpecError, match=r"must be a \.npy or an idx file"):
        (tmp_path / "y.csv").write_text("y\n1\n")
        load_source(DataSpec(file="x.npy", targets="y.csv"), tmp_path)
    np.save(tmp_path / "y.npy", np.ones(4))
    with pytest.raises(DataCorrupt, match="different numbers of examples"):
        load_source(DataSpec(file="x.npy", targets="y.npy"), tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.CSV", "table"),
        ("a.csv.gz", "arrays"),
        ("train-images-idx3-ubyte.gz", "idx"),
        ("train-images.idx3-ubyte", "idx"),
        ("a.idx", "idx"),
        ("a.npy", "array"),
        ("a.npz", "arrays"),
        ("other", "arrays"),
    ],
)
def test_the_kind_of_a_file_follows_from_its_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def overridden(*overrides: str) -> object:
    text = SPEC.format(loss="squared", target="price")
    return parse_spec(text, "toml", "houses.toml", overrides)


def test_keys_are_set_over_those_of_the_spec() -> None:
    spec = overridden("method=adam", "method.rate = 0.5", "budget.updates=7", "name=x-2")
    assert (spec.method.name, spec.method.rate) == ("adam", 0.5)
    assert (spec.budget.updates, spec.name, spec.batch) == (7, "x-2", 2)
    assert overridden("network.hidden=[3, 4]").network.hidden == [3, 4]
    assert overridden('data.target="zip"').data.target == "zip"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch", 'found "batch"; write KEY=VALUE'),
        ("=3", "write KEY=VALUE"),
        ("batch.size=3", r'--set batch\.size: "batch" is 2, not a table'),
        ("batch=many", r'houses\.toml, with --set, batch: found "many"'),
        ("method.nmae=kfac", r'with --set, method\.nmae: no such key; did you mean "name"'),
        ("seed=1\nbatch=3", "seed: found"),
    ],
)
def test_keys_that_cannot_be_set(override: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        overridden(override)
