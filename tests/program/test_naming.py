import numpy as np
import pytest

from kfgn_graph.errors import SpecError
from kfgn_graph.program.building import build
from kfgn_graph.program.naming import check_order, order_of
from kfgn_graph.program.spec import parse_spec

SPEC = """
loss = "squared"
batch = 5
[network]
hidden = [4]
[data]
file = "a.npz"
{data}
[budget]
updates = 1
"""
GRAPH = """
import numpy as np, pytensor, pytensor.tensor as pt

def graph():
    x, t = pt.matrix("x"), pt.matrix("t")
    W = pytensor.shared(np.ones((3, 3)), name="W")
    return ((x @ W - t) ** 2).mean(), [W], [x, t]
"""


@pytest.mark.parametrize(
    ("held", "inputs", "expected"),
    [
        (["y", "x"], ["x", "y"], ["x", "y"]),
        (["Y", "X"], ["x", "y"], ["X", "Y"]),
        (["y", "x"], ["inputs", "targets"], ["x", "y"]),
        (["labels", "images"], ["x", "y"], ["images", "labels"]),
        (["y", "x"], ["y", "x"], ["y", "x"]),
        (["y", "x"], [None, None], ["x", "y"]),
        (["arr_1", "arr_0"], ["x", "y"], ["arr_0", "arr_1"]),
        (["w", "y", "x"], ["x", "y"], ["x", "y"]),
        (["w", "y", "x"], ["x", "y", "w"], ["x", "y", "w"]),
        (["anything"], ["x"], ["anything"]),
    ],
)
def test_arrays_take_the_order_of_the_inputs_of_their_names(held, inputs, expected):
    assert order_of(held, inputs, "a.npz") == expected


@pytest.mark.parametrize(
    ("held", "inputs"),
    [
        (["b", "a"], ["x", "y"]),
        (["x", "inputs"], ["inputs", "targets"]),
        (["x", "X"], ["y", "Z"]),
        (["y", "x"], ["x", "x"]),
        (["x", "y", "w"], [None, None]),
        (["x", "y"], ["data"]),
    ],
)
def test_names_that_do_not_tell_the_order_are_refused(held, inputs):
    with pytest.raises(SpecError, match=r"their order is unknown\. List them .* arrays = \["):
        order_of(held, inputs, "a.npz")


def test_a_listed_order_that_swaps_the_inputs_is_refused():
    with pytest.raises(SpecError, match=r"'y' of a\.npz is listed for the input 'x'"):
        check_order(["y", "x"], ["x", "y"], "a.npz")
    check_order(["x", "x"], ["x", "t"], "a.npz")
    check_order(["b", "a"], ["x", "y"], "a.npz")
    check_order(["y", "x"], [None, None], "a.npz")


@pytest.mark.parametrize("first", ["x", "y"])
def test_a_network_trains_x_to_y_in_whichever_order_they_are_stored(tmp_path, first):
    arrays = {"x": np.ones((8, 3)), "y": np.zeros((8, 2))}
    stored = sorted(arrays, key=lambda name: name != first)
    np.savez(tmp_path / "a.npz", **{name: arrays[name] for name in stored})
    task = build(parse_spec(SPEC.format(data=""), "toml"), tmp_path)
    assert [a.shape for a in task.arrays] == [(8, 3), (8, 2)]
    listed = build(parse_spec(SPEC.format(data='arrays = ["y", "x"]'), "toml"), tmp_path)
    assert [a.shape for a in listed.arrays] == [(8, 2), (8, 3)]


def test_a_user_s_graph_gets_the_arrays_of_its_inputs_names(tmp_path):
    (tmp_path / "graph_of_names.py").write_text(GRAPH)
    np.savez(tmp_path / "a.npz", t=np.zeros((8, 3)), x=np.ones((8, 3)))
    rest = SPEC.partition("[data]")[2]
    text = 'graph = "graph_of_names:graph"\nbatch = 5\n[data]' + rest
    task = build(parse_spec(text.format(data=""), "toml"), tmp_path)
    assert [float(a.mean()) for a in task.arrays] == [1.0, 0.0]
    with pytest.raises(SpecError, match=r"'t' of .* is listed for the input 'x'"):
        build(parse_spec(text.format(data='arrays = ["t", "x"]'), "toml"), tmp_path)
