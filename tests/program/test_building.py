import numpy as np
import pytensor
import pytest

from kfgn_graph.errors import SpecError
from kfgn_graph.program.building import build, compile_step
from kfgn_graph.program.datasets.dataset import bernoulli_floor
from kfgn_graph.program.spec import parse_spec

SPEC = """
loss = "{loss}"
{more}
[network]
hidden = {hidden}
{network}
[data]
file = "a.npz"
[budget]
updates = 1
"""


@pytest.fixture
def made(tmp_path, rng):
    """Build a spec from arrays."""

    def make(loss="squared", more="", hidden="[4]", network="", **arrays):
        arrays = arrays or {"x": rng.random((8, 3))}
        np.savez(tmp_path / "a.npz", **arrays)
        more = more if "batch" in more else f"batch = 5\n{more}"
        text = SPEC.format(loss=loss, more=more, hidden=hidden, network=network)
        return build(parse_spec(text, "toml"), tmp_path)

    return make


def value(task, variable):
    """Evaluate a variable on all data."""
    function = pytensor.function(task.inputs, variable, on_unused_input="ignore")
    return function(*task.arrays)


def test_examples_without_targets_are_their_own(made):
    task = made()
    assert len(task.inputs) == 1
    assert [p.get_value().shape for p in task.parameters] == [(3, 4), (4,), (4, 3), (3,)]
    assert value(task, task.prediction).shape == (8, 3)


def test_targets_are_of_the_spec_s_dtype_and_labels_count_classes(made, rng):
    x = rng.random((8, 3))
    regression = made(x=x, y=rng.random(8), more='dtype = "float64"')
    assert regression.arrays[1].shape == (8, 1)
    assert {str(a.dtype) for a in regression.arrays} == {"float64"}
    classifier = made("softmax", x=x, y=np.arange(8) % 4)
    assert classifier.parameters[-1].get_value().shape == (4,)


def test_classes_without_an_example_are_noted(made, rng):
    task = made("softmax", x=rng.random((30, 3)), y=np.arange(30) % 3 * 7)
    assert "so the network has 15 outputs, but 12 classes have no example: 1, 2, 3, " in task.note
    assert "11 and 2 more. If they do not exist, number the classes without gaps" in task.note
    assert made("softmax", x=rng.random((8, 3)), y=np.arange(8) % 4).note is None


def test_one_example_is_enough_for_a_first_order_method(made):
    assert made(more='batch = 1\nmethod = "sgd"').spec.batch == 1


def test_the_floor_is_the_targets_entropy(made, rng):
    x = rng.random((8, 3)).astype(np.float32)
    assert made("bernoulli", x=x).floor == pytest.approx(bernoulli_floor(x))
    assert made("squared", x=x).floor == 0.0


def test_tied_weights_are_one_parameter_and_residual_layers_add_their_input(made):
    tied = made(more='method = "adam"', network="tied = true")
    assert [p.get_value().shape for p in tied.parameters] == [(3, 4), (4,), (3,)]
    residual = made(hidden="[4, 4]", network="residual = true\nbias = false")
    x, weights = residual.arrays[0], [p.get_value() for p in residual.parameters]
    h = np.tanh(x @ weights[0])
    h = h + np.tanh(h @ weights[1])
    np.testing.assert_allclose(value(residual, residual.prediction), h @ weights[2], rtol=1e-4)


def test_a_linear_layer_has_no_activation(made):
    task = made(hidden="[4, 2]", network="linear = [-1]\nbias = false")
    x, (u, v, w) = task.arrays[0], [p.get_value() for p in task.parameters]
    np.testing.assert_allclose(value(task, task.prediction), np.tanh(x @ u) @ v @ w, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "softmax"}, 'loss: "softmax" needs labels'),
        ({"loss": "softmax", "x": np.eye(8), "y": np.arange(8) - 1}, "count classes from 0"),
        ({"loss": "bernoulli", "x": 2 * np.eye(8)}, r"targets in \[0, 1\]; the data have 0 to 2"),
        ({"x": np.eye(4)}, "found 5, but there are 4 examples to train on. Set batch to 4"),
        ({"x": np.eye(8), "y": np.eye(8), "z": np.eye(8)}, "a network takes examples and targets"),
        ({"x": np.full((8, 2), 1e300)}, 'use dtype = "float64"'),
        ({"hidden": "[100000, 100000]"}, "weights, more than"),
        ({"loss": "softmax", "x": np.eye(8), "y": np.arange(8) % 3 + 1}, "subtract 1 from the la"),
        (
            {"loss": "softmax", "x": np.eye(8), "y": np.zeros(8, int)},
            "give examples of two",
        ),
        (
            {"x": np.column_stack([np.ones(8), np.full(8, 1e-200)])},
            "column 1 of the inputs are",
        ),
        ({"x": np.ones((8, 2)), "y": np.full(8, 1e-42)}, "column 0 of the targets are too small"),
        ({"more": "batch = 1"}, "found 1, but kfra needs at least two examples in each update"),
        ({"x": np.eye(1)}, "Give more data: kfra needs at least two"),
    ],
)
def test_data_that_do_not_fit_the_network_are_told(made, settings, message):
    with pytest.raises(SpecError, match=message):
        made(**settings)


def test_settings_reach_the_compiled_update(made):
    more = 'damping = { rule = "constant", value = 0.5 }\nstep = { length = 0.25 }\nl2 = 0.125'
    step = compile_step(made(more=more))
    told = step.update.explain()
    assert "0.5" in told
    assert "0.25" in told
    assert step.statistics() == {}
