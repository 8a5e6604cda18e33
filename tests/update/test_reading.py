"""Parameters that read as NumPy on any backend, and what notebooks and loggers are shown."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode

import kfgn_graph as kfgn

PYTHON = Mode(linker="py", optimizer=None)


class Net:
    """A small autoencoder with one batch of data."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.x = pt.matrix("x")
        self.W = pytensor.shared(rng.normal(size=(5, 4)), name="W")
        self.V = pytensor.shared(rng.normal(size=(4, 5)), name="V")
        self.loss = ((pt.tanh(self.x @ self.W) @ self.V - self.x) ** 2).sum(axis=1).mean()
        self.data = rng.normal(size=(16, 5))

    def update(self, backend: str = "jax") -> kfgn.Update:
        return kfgn.compile_update(self.loss, [self.W, self.V], [self.x], backend=backend)

    def evaluated(self) -> float:
        return float(self.loss.eval({self.x: self.data}, mode=PYTHON))


@pytest.fixture(scope="module")
def trained() -> tuple[Net, kfgn.Update]:
    net = Net()
    net.evaluated()  # a function that eval() keeps
    update = net.update()
    update(net.data)
    return net, update


def test_parameters_read_as_numpy_and_follow_every_update(trained) -> None:
    net, update = trained
    for _ in range(2):
        before = net.evaluated()
        assert update(net.data).loss == pytest.approx(before, rel=1e-9)
        assert type(net.W.get_value()) is np.ndarray
        assert type(net.W.get_value(borrow=True)) is np.ndarray
        np.testing.assert_array_equal(net.W.get_value(), update.state()["parameters/W"])


def test_reading_leaves_the_values_on_the_device_where_updates_donate_them(trained) -> None:
    net, update = trained
    held = update.device_parameters()
    net.evaluated()
    assert all(held[name] is value for name, value in update.device_parameters().items())
    assert not any(isinstance(value, np.ndarray) for value in held.values())
    update(net.data)
    assert all(value.is_deleted() for value in held.values())


def test_a_function_in_the_mode_of_the_update_reads_the_device(trained) -> None:
    net, update = trained
    function = pytensor.function([net.x], net.loss, mode=update.mode)
    update(net.data)
    assert float(function(net.data)) == pytest.approx(net.evaluated(), rel=1e-9)
    assert not isinstance(update.device_parameters()["W"], np.ndarray)


def test_values_that_are_set_are_trained_from(trained) -> None:
    net, update = trained
    net.W.set_value(0.5 * net.W.get_value())
    expected = net.evaluated()
    assert update(net.data).loss == pytest.approx(expected, rel=1e-9)


def test_a_copy_that_nobody_reads_is_not_written(trained) -> None:
    net, _ = trained
    with pytest.raises(ValueError, match="read-only"):
        net.W.get_value(borrow=True)[0] = 0.0
    net.W.get_value()[0] = 0.0  # a copy of the caller's


def test_variables_are_copied_with_their_values(trained) -> None:
    net, update = trained
    for other in (copy.deepcopy(net.W), pickle.loads(pickle.dumps(net.W))):
        np.testing.assert_array_equal(other.get_value(), net.W.get_value())
    own = copy.deepcopy(update)
    before = net.W.get_value()
    own(net.data)
    np.testing.assert_array_equal(net.W.get_value(), before)


@pytest.mark.parametrize(
    "backend", [pytest.param(name, marks=pytest.mark.slow) for name in ("numba", "c")]
)
def test_updates_of_two_backends_train_the_same_parameters(backend: str) -> None:
    net = Net()
    updates = [net.update(), net.update(backend)]
    for update in updates * 2:
        before = net.evaluated()
        assert update(net.data).loss == pytest.approx(before, rel=1e-9)
    assert net.loss.eval({net.x: net.data}) == pytest.approx(net.evaluated(), rel=1e-9)


def test_a_shared_variable_with_a_default_update_reads_as_numpy() -> None:
    x = pt.matrix("x")
    rng = np.random.default_rng(0)
    W = pytensor.shared(rng.normal(size=(3, 2)), name="W")
    calls = pytensor.shared(np.zeros(()), name="calls")
    with pytest.warns(DeprecationWarning):
        calls.default_update = calls + 1.0
    loss = ((x @ W - 1.0) ** 2).sum(axis=1).mean() + 0.0 * calls
    update = kfgn.compile_update(loss, [W], [x], backend="jax")
    for _ in range(3):
        update(rng.normal(size=(6, 3)))
    assert type(calls.get_value()) is np.ndarray
    assert calls.get_value() == 3


def test_load_parameters_reads_what_an_update_saved(trained, tmp_path: Path) -> None:
    net, update = trained
    path = tmp_path / "state.safetensors"
    update.save(path)
    found = kfgn.load_parameters(path)
    assert sorted(found) == ["V", "W"]
    np.testing.assert_array_equal(found["W"], net.W.get_value())
    np.testing.assert_array_equal(kfgn.Update.read_state(path)["parameters/V"], found["V"])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(kfgn.CheckpointError, match="altered"):
        kfgn.load_parameters(path)


def test_statistics_convert_to_a_dictionary_by_either_name(trained) -> None:
    net, update = trained
    stats = update(net.data)
    assert stats.asdict() == stats.as_dict()
    assert stats.asdict()["loss"] == stats.loss


def test_a_number_is_a_constant_damping() -> None:
    assert kfgn.Settings(damping=0.1) == kfgn.Settings(damping=kfgn.ConstantDamping(0.1))
    assert kfgn.Settings(damping=np.float32(2)).damping == kfgn.ConstantDamping(2.0)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), True, "high", None])
def test_a_damping_that_is_no_rule_and_no_positive_number_is_refused(value: object) -> None:
    with pytest.raises(kfgn.SpecError, match="damping="):
        kfgn.Settings(damping=value)


def test_blocks_are_found_by_name_weight_and_bias() -> None:
    x, y = pt.matrix("x"), pt.vector("y")
    shapes = {"W0": (3, 4), "b0": (4,), "W1": (4, 1)}
    p = {name: pytensor.shared(np.ones(shape), name=name) for name, shape in shapes.items()}
    z = (pt.tanh(x @ p["W0"] + p["b0"]) @ p["W1"])[:, 0]
    graph = kfgn.trace_layers(((z - y) ** 2).mean(), list(p.values()))
    factors = kfgn.curvature_factors(graph, kfgn.KFRA())
    first, second = graph.layers
    assert factors["W0"] is factors[p["W0"]] is factors[p["b0"]] is factors[first]
    assert factors["W1"] is factors[second.weight] is factors[second]
    with pytest.raises(KeyError, match=r"no layer is known by 'W2'; the layers are 'W0', 'W1'"):
        factors["W2"]
    with pytest.raises(KeyError, match="no layer is known by 'x'"):
        factors[x]
    html = graph._repr_html_()
    assert "<td>3 to 4</td>" in html
    assert "<td>W1_G</td>" in factors["W1"]._repr_html_()


def test_html_representations_show_values_and_escape_names(trained) -> None:
    net, update = trained
    stats = update(net.data)
    assert f"<td>{stats.loss:.6g}</td>" in stats._repr_html_()
    many = kfgn.UpdateStats(*(np.full(4, value) for value in stats.as_dict().values()))
    assert "UpdateStats of 4 updates" in many._repr_html_()
    html = update._repr_html_()
    assert html.startswith("<pre>KFLR (Eq. ") or html.startswith("<pre>KFRA (Eq. ")
    assert "compiled and run first" in html
    graph = kfgn.trace_layers(((net.x @ net.W) ** 2).sum(axis=1).mean(), [net.W])
    net.W.name = "<b>"
    try:
        assert "&lt;b&gt;" in graph._repr_html_()
    finally:
        net.W.name = "W"
