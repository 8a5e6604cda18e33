import sys
import zlib
from pathlib import Path

import numpy as np
import pytensor.tensor as pt
import pytest

from kfgn_graph.errors import SpecError
from kfgn_graph.program.user_graphs import fitted, load_graph

MODULE = """
import pytensor, pytensor.tensor as pt
import numpy as np

def good():
    x = pt.matrix("x")
    W = pytensor.shared(np.ones((2, 1)), name="W")
    return ((x @ W) ** 2).mean(), [W], [x]

def seeded(seed):
    loss, parameters, inputs = good()
    parameters[0].set_value(np.full((2, 1), seed))
    return loss, parameters, inputs, loss.owner.inputs[0]
def no_output():
    return (*good(), "output")

def raises(): raise ValueError("mine")
def leaves(): import sys; sys.exit(0)
def two(): return 1, 2
def exits(): raise GeneratorExit
def errs(): import kfgn_graph; raise kfgn_graph.BatchError("mine")
class Mute(Exception):
    def __str__(self): raise ValueError
def mute(): raise Mute
class Shy:
    def __repr__(self): raise ValueError
def shy(): return Shy(), [], []
def moves():
    import os, sys
    os.chdir("/")
    sys.path.pop(0)
    return good()
def no_scalar():
    loss, parameters, inputs = good()
    return inputs[0], parameters, inputs
def no_parameters():
    loss, parameters, inputs = good()
    return loss, [], inputs
NUMBER = 5
"""


@pytest.fixture
def module(tmp_path, request):
    """A module of its own name, for what was imported is kept."""
    name = f"graphs_{zlib.crc32(request.node.name.encode())}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return tmp_path, name


def test_a_function_of_the_spec_s_folder_is_called(module):
    folder, name = module
    loss, parameters, inputs, output = load_graph(f"{name}:good", folder)
    assert output is None
    assert loss.ndim == 0
    assert [p.name for p in parameters] == ["W"]
    assert [v.name for v in inputs] == ["x"]


def test_a_function_may_take_the_seed_and_return_the_output(module):
    folder, name = module
    loss, parameters, _, output = load_graph(f"{name}:seeded", folder, 7)
    assert parameters[0].get_value().tolist() == [[7], [7]]
    assert output is loss.owner.inputs[0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no_output", "the output of"),
        ("raises", "raised ValueError: mine"),
        ("leaves", "raised SystemExit: 0"),
        ("exits", "raised GeneratorExit."),
        ("errs", "raised BatchError: mine"),
        ("mute", "raised Mute."),
        ("shy", "it must be a scalar variable"),
        ("two", "it must return a tuple of three"),
        ("no_scalar", "it must be a scalar variable"),
        ("no_parameters", "expected a list of shared variables"),
        ("godo", 'has no function godo; did you mean "good"'),
        ("NUMBER", "has no function NUMBER"),
    ],
)
def test_what_cannot_be_used_is_told(module, function, message):
    folder, name = module
    with pytest.raises(SpecError, match="graph: ") as caught:
        load_graph(f"{name}:{function}", folder)
    assert message in str(caught.value)


def test_a_module_that_changes_the_working_folder_does_not_move_the_run(module, monkeypatch):
    folder, name = module
    monkeypatch.chdir(folder)
    path = list(sys.path)
    load_graph(f"{name}:moves", folder)
    assert Path.cwd() == folder
    assert sys.path == path


def test_nothing_is_written_while_a_module_is_read(module, monkeypatch):
    folder, name = module
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    load_graph(f"{name}:good", folder)
    assert [path.name for path in folder.iterdir()] == [f"{name}.py"]
    assert not sys.dont_write_bytecode


def test_a_module_without_a_file_is_named(tmp_path):
    with pytest.raises(SpecError, match="graph: sys has no function nothing"):
        load_graph("sys:nothing", tmp_path)


def test_a_module_that_is_not_there_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(SpecError, match="cannot be imported") as caught:
        load_graph("no_such_module:f", tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_module_that_ends_the_program_is_an_error(tmp_path):
    (tmp_path / "leaving.py").write_text("import sys; sys.exit(0)")
    with pytest.raises(SpecError, match="leaving cannot be imported: SystemExit: 0"):
        load_graph("leaving:f", tmp_path)


def test_data_get_the_inputs_types():
    x, y = pt.fmatrix("x"), pt.lvector("y")
    arrays = fitted([np.zeros((4, 2)), np.zeros(4, np.int32)], [x, y])
    assert [a.dtype for a in arrays] == [np.float32, np.int64]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros((4, 2))], "there are 1 arrays; the graph has 2 inputs"),
        ([np.zeros(4), np.zeros(4, int)], r"the graph needs \('any', 2\)"),
        ([np.zeros((4, 3)), np.zeros(4, int)], r"has the shape \(4, 3\)"),
        ([np.zeros((4, 2)), np.zeros(4)], "the input y needs int64; its array is float64"),
    ],
)
def test_data_that_do_not_fit_the_graph_are_told(arrays, message):
    with pytest.raises(SpecError, match=message):
        fitted(arrays, [pt.matrix("x", shape=(None, 2)), pt.lvector("y")])


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([3, 200, 299]), "int8"),
        (np.array([0, -1]), "uint8"),
        (np.array([0, 256]), "uint8"),
        (np.array([2**63], np.uint64), "int64"),
        (np.array([-1]), "uint64"),
        (np.array([0, 2]), "bool"),
        (np.array([1.0, 1e300]), "float32"),
        (np.array([1.0, 1e30], np.float32), "float16"),
        (np.array([70000]), "float16"),
    ],
)
def test_values_that_the_input_s_dtype_does_not_have_are_refused(array, dtype):
    with pytest.raises(SpecError, match=f"the input y is {dtype}, which does not represent"):
        fitted([array], [pt.vector("y", dtype=dtype)])


def test_a_column_that_the_input_s_dtype_rounds_to_zero_is_named():
    array = np.array([[1.0, 1e-60], [2.0, 0.0]])
    with pytest.raises(SpecError, match="the numbers in column 1 of its array are zero"):
        fitted([array], [pt.fmatrix("x")])


def test_values_that_the_input_s_dtype_has_are_unchanged():
    for array, dtype in [([-128, 127], "int8"), ([0, 1], "bool"), ([0, 2**63 - 1], "uint64")]:
        (found,) = fitted([np.array(array)], [pt.vector("y", dtype=dtype)])
        assert found.dtype == dtype
        assert found.tolist() == array
