import numpy as np
import pytest

from kfgn_graph.errors import CheckpointError, SpecError
from kfgn_graph.program.building import build
from kfgn_graph.program.datasets import DataCorrupt, DataNotFound
from kfgn_graph.program.scaling import (
    SCALING,
    Scaling,
    read_scalings,
    standardised,
    write_scalings,
)
from kfgn_graph.program.sources import load_source
from kfgn_graph.program.spec import parse_spec
from kfgn_graph.program.spec.models import DataSpec

X = np.arange(12.0).reshape(6, 2)
Y = np.arange(6)


@pytest.fixture
def folder(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    return tmp_path


def load(folder, **settings):
    return load_source(DataSpec(file="a.npz", **settings), folder)


def test_all_arrays_are_taken_in_their_order(folder):
    source = load(folder)
    np.testing.assert_array_equal(source.arrays[0], X)
    np.testing.assert_array_equal(source.arrays[1], Y)
    assert source.origin.endswith("a.npz, arrays x, y")


def test_arrays_are_taken_as_named_and_one_may_be_taken_twice(folder):
    found = load(folder, arrays=["y", "x", "x"]).arrays
    assert [array.shape for array in found] == [(6,), (6, 2), (6, 2)]


def test_the_first_examples_are_taken(folder):
    assert len(load(folder, examples=4).arrays[0]) == 4
    with pytest.raises(SpecError, match="there are only 6 examples"):
        load(folder, examples=7)


def test_numbers_are_standardised_and_labels_are_not(folder):
    x, y = load(folder, standardise=True).arrays
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 1)
    np.testing.assert_array_equal(y, Y)


def test_whole_numbers_are_standardised_where_they_are_numbers(folder):
    network = 'loss = "{}"\nbatch = 2\n[network]\nhidden = [2]\n'
    data = '[data]\nfile = "a.npz"\nstandardise = true\n[budget]\nupdates = 1\n'
    np.savez(folder / "a.npz", x=X.astype(np.int64), y=Y)
    for loss, targets in {"squared": (Y - 2.5)[:, None] / Y.std(), "softmax": Y}.items():
        task = build(parse_spec(network.format(loss) + data, "toml"), folder)
        np.testing.assert_allclose(task.arrays[0], (X - X.mean(axis=0)) / X.std(axis=0), rtol=1e-6)
        np.testing.assert_allclose(task.arrays[1], targets, rtol=1e-6)
        assert [s is not None for s in task.scalings] == [True, loss == "squared"]


def test_mean_and_deviation_are_kept_and_undo_the_scaling(folder):
    constant = np.column_stack([X, np.full(6, 3.0)]).astype(np.float32)
    np.savez(folder / "a.npz", x=constant, y=Y)
    source = load(folder, standardise=True, examples=5)
    scaling, none = source.scalings
    assert none is None
    np.testing.assert_allclose(scaling.mean, constant[:5].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scaling.deviation[:2], constant[:5, :2].std(axis=0), rtol=1e-6)
    assert scaling.deviation[2] == 1
    np.testing.assert_array_equal(scaling.apply(constant[:5]), source.arrays[0])
    np.testing.assert_allclose(scaling.undo(source.arrays[0]), constant[:5], rtol=1e-6, atol=1e-6)
    write_scalings(folder, source.scalings)
    (index, again), *_ = read_scalings(folder).items()
    assert index == 0
    np.testing.assert_array_equal(again.mean, scaling.mean)
    np.testing.assert_array_equal(again.deviation, scaling.deviation)
    (folder / SCALING).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_scalings(folder)


@pytest.mark.parametrize("scale", [1e300, 1e200, 1e-200, 1e-290])
def test_columns_of_any_scale_are_standardised(folder, rng, scale):
    x = rng.normal(size=(50, 3)) + 2
    plain = standardised([x])[0][0]
    np.savez(folder / "a.npz", x=np.column_stack([x, scale * x]))
    source = load(folder, standardise=True)
    np.testing.assert_allclose(source.arrays[0], np.hstack([plain, plain]), rtol=1e-9)
    (scaling,) = source.scalings
    np.testing.assert_allclose(scaling.mean[3:] / scale, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaling.deviation[3:] / scale, x.std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scaling.undo(source.arrays[0])[:, 3:] / scale, x, rtol=1e-9)


def test_powers_of_two_change_no_bit_and_constant_columns_become_zero(rng):
    x = np.column_stack([rng.normal(size=300), np.full(300, 0.1 + 1e8)])
    plain, large = standardised([x, x * 2.0**900])[0]
    np.testing.assert_array_equal(plain, large)
    assert (plain[:, 1] == 0).all()
    assert plain[:, 0].std() == pytest.approx(1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[1.0, 0.0], [2.0, 1e-320]]), "column 1 of x are so small"),
        (np.array([1e-310, 2e-310]), "the numbers in x are so small"),
        (np.array([[1, 2], [np.longdouble("1e4000"), 3]]), "column 0 of x are too large"),
    ],
)
def test_a_column_without_a_representable_deviation_is_named(array, message):
    with pytest.raises(SpecError, match=f"data.standardise: .*{message}"):
        standardised([array], ["x"])


def test_units_of_the_data_that_a_dtype_lacks_are_an_error():
    scaling = Scaling(np.zeros(1), np.full(1, 1e200))
    with pytest.raises(SpecError, match="too large for float32"):
        scaling.undo(np.ones((2, 1), np.float32))


def test_an_array_that_is_not_there_offers_the_nearest(folder):
    np.savez(folder / "a.npz", inputs=X)
    with pytest.raises(SpecError, match='did you mean "inputs"'):
        load(folder, arrays=["input"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds no arrays"),
        ({"x": np.array(["a"])}, "it must be real numbers"),
        ({"x": np.array([[1.0], [np.nan]])}, r"x is not finite at \(1, 0\)"),
        ({"x": X, "y": Y[:5]}, "different numbers of examples: x 6, y 5"),
        ({"x": np.zeros((0, 2))}, "no examples"),
    ],
)
def test_what_cannot_be_trained_on_is_told(folder, arrays, message):
    np.savez(folder / "a.npz", **arrays)
    with pytest.raises(DataCorrupt, match=message):
        load(folder)


def test_a_pickled_object_is_not_loaded(folder):
    np.savez(folder / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DataCorrupt, match=r"not a readable \.npz"):
        load(folder)


def test_a_file_that_is_not_there_is_told(folder):
    with pytest.raises(DataNotFound, match=r"b\.npz is not a file"):
        load_source(DataSpec(file="b.npz"), folder)
