"""The public names of the program: what each returns, and what it says of bad arguments."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from kfgn_graph.program.training import start
from tests.program.small import KFRA, Watch, small_spec, write_data

RATES = ("product", "inversion", "memory")
# JAX checks shapes while it traces; PyTensor remarks that its own check is left out.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping Assert:UserWarning")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("public")
    write_data(folder)
    return start(small_spec(), folder, folder / "runs", Watch()).path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    for path in trained.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(trained)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return tmp_path


def in_a_new_process(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_is_imported_when_a_name_of_it_is_used() -> None:
    program = """
import sys, kfgn_graph
print("kfgn_graph.program" in sys.modules)
kfgn_graph.load_data
print("kfgn_graph.program.catalogue" in sys.modules)
"""
    assert in_a_new_process(program).split() == ["False", "True"]


@pytest.mark.parametrize("name", ["GraphSpec", "load_data", "read_run"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(name: str) -> None:
    program = f"""
import sys
sys.modules["pydantic"] = None
import kfgn_graph
try:
    kfgn_graph.{name}
except kfgn_graph.SpecError as error:
    print(error)
"""
    said = in_a_new_process(program)
    assert said.startswith(f"{name} cannot be imported")
    assert 'pip install "kfgn_graph[cli]"' in said


def test_checkpoints_can_be_read_without_the_extra(trained: Path) -> None:
    program = f"""
import sys
sys.modules["pydantic"] = None
import kfgn_graph
print(len(kfgn_graph.load_parameters({str(trained)!r})))
"""
    assert in_a_new_process(program).strip() == "4"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="load_dota"):
        kfgn.load_dota  # noqa: B018


# --- data sets


def test_a_data_set_is_loaded_by_name() -> None:
    data = kfgn.load_data("digits", count=100)
    assert isinstance(data, kfgn.Dataset)
    assert (data.name, data.inputs.shape, data.inputs.dtype) == ("digits", (100, 64), "float32")
    assert data.targets is not None and data.targets.shape == (100,)


def test_the_entropy_is_the_least_cross_entropy_of_the_examples() -> None:
    inputs = np.array([[0.5, 1.0], [0.25, 0.0]], np.float32)
    expected = -(2 * 0.5 * np.log(0.5) + 0.25 * np.log(0.25) + 0.75 * np.log(0.75)) / 2
    assert kfgn.Dataset("two", inputs, None, "").entropy() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "minst"}, "no data set 'minst'; did you mean \"mnist\"?"),
        ({"name": "uci/concret"}, 'did you mean "uci/concrete"'),
        ({"name": "digits", "split": "test"}, "no split 'test'. It has train"),
        ({"name": "digits", "count": 1798}, "found 1798; 'digits' has 1797 examples"),
        ({"name": "digits", "count": 0}, "found 0"),
    ],
)
def test_data_that_there_are_not_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(kfgn.SpecError) as caught:
        kfgn.load_data(**arguments)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_files_that_are_not_had_or_altered_raise_public_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFGN_DATA", str(tmp_path))
    table = tmp_path / "uci_regression" / "yacht.txt.gz"
    table.parent.mkdir()
    table.write_bytes(b"another file")
    with pytest.raises(kfgn.DataCorrupt, match="SHA-256"):
        kfgn.load_data("uci/yacht")
    monkeypatch.setattr(
        "kfgn_graph.program.datasets.files.data_folders", lambda folder=None: [tmp_path / "none"]
    )
    with pytest.raises(kfgn.DataNotFound, match="KFGN_DATA"):
        kfgn.load_data("uci/yacht")


# --- the prediction of an update


def test_an_update_is_predicted_as_by_explain_at_given_or_measured_rates(tmp_path: Path) -> None:
    write_data(tmp_path)
    spec = small_spec(method=KFRA)
    rates = {"product": 2e9, "inversion": 1e9, "memory": 4e9}
    found = kfgn.predict_update(spec, tmp_path, rates=rates)
    assert found["rates"] == rates
    assert [layer["Q"] for layer in found["layers"]] == [[5, 5], [6, 6]]
    seconds = {part["name"]: part["seconds"] for part in found["parts"]}
    assert found["predicted_seconds"] == pytest.approx(sum(seconds.values()))
    assert found["operations"] == sum(p["amount"] for p in found["parts"] if p["kind"] != "memory")
    ticks = iter(range(1000))
    timed = kfgn.predict_update(small_spec(), tmp_path, clock=lambda: float(next(ticks)))
    assert timed["rates"]["product"] == timed["rates"]["inversion"] == 2.0 * 1000**3


@pytest.mark.parametrize("rates", [{"product": 1.0}, dict.fromkeys(RATES, 0.0)])
def test_rates_that_are_missing_or_not_positive_are_refused(rates: dict[str, float]) -> None:
    with pytest.raises(kfgn.SpecError, match="for each of product, inversion, memory"):
        kfgn.predict_update(small_spec(), rates=rates)


# --- runs


def test_a_run_has_its_header_metrics_and_checkpoints(trained: Path) -> None:
    found = kfgn.read_run(trained)
    assert isinstance(found, kfgn.RunRecord)
    assert found.spec == small_spec()
    assert found.header["machine"]["versions"]["kfgn_graph"] == kfgn.__version__
    assert found.updates["loss"].shape == (12,)
    assert [line["update"] for line in found.evaluations] == [0, 5, 10, 12]
    assert [update for update, _ in found.checkpoints] == [4, 8, 12]


def test_the_state_is_the_newest_checkpoint_s_or_that_of_an_update(trained: Path) -> None:
    found = kfgn.read_run(trained)
    newest, named, older = found.state(), found.state(12), found.state(4)
    assert newest.keys() == named.keys() == older.keys()
    assert all(np.array_equal(newest[name], named[name]) for name in newest)
    assert not np.array_equal(newest["parameters/W1"], older["parameters/W1"])


def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(trained: Path) -> None:
    with pytest.raises(kfgn.CheckpointError, match="of update 5; there are those of 4, 8, 12"):
        kfgn.read_run(trained).state(5)


def test_a_run_without_a_checkpoint_has_no_state(run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(kfgn.CheckpointError, match="has no checkpoint"):
        kfgn.read_run(run).state()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(kfgn.CheckpointError, match="is not a run"):
        kfgn.read_run(tmp_path)


@pytest.mark.parametrize(
    "header",
    ["{", "[]", '{"format": "another"}', '{"format": "kfgn-run-1"}'],
    ids=["cut off", "a list", "another format", "without a spec"],
)
def test_a_damaged_header_is_refused(run: Path, header: str) -> None:
    (run / "run.json").write_text(header, "utf-8")
    with pytest.raises(kfgn.CheckpointError, match=r"run\.json is damaged"):
        kfgn.read_run(run)


def test_a_damaged_spec_or_line_or_checkpoint_is_refused(run: Path) -> None:
    found = kfgn.read_run(run)
    checkpoint = found.checkpoints[-1][1]
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(kfgn.CheckpointError, match="altered"):
        found.state()
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write("no metrics\n")
    with pytest.raises(kfgn.CheckpointError, match="not a metrics line"):
        _ = found.updates
    header = found.header | {"spec": {"loss": "hinge"}}
    (run / "run.json").write_text(json.dumps(header), "utf-8")
    with pytest.raises(kfgn.CheckpointError, match="hinge"):
        kfgn.read_run(run)


def test_parameters_are_taken_into_variables_of_their_names(trained: Path) -> None:
    values = kfgn.load_parameters(trained)
    network = kfgn.perceptron([4, 5, 3], "softmax", seed=1)
    kfgn.assign_parameters(network.parameters, values)
    for parameter in network.parameters:
        np.testing.assert_array_equal(parameter.get_value(), values[str(parameter.name)])


# --- first-order updates


def line(start: float = 1.0) -> tuple[pt.TensorVariable, pytensor.compile.SharedVariable]:
    """Return the loss w^2 / 2, whose gradient is w, and w."""
    w = pytensor.shared(np.array([start]), "w", shape=(1,))
    return pt.sum(w**2) / 2, w


def test_descent_returns_the_loss_before_the_update_and_halves_its_rate() -> None:
    loss, w = line()
    update = kfgn.compile_first_order(loss, [w], [], "sgd", 0.5, halve_every=1, backend="jax")
    losses = [update() for _ in range(3)]
    assert losses == pytest.approx([0.5, 0.5 * 0.5**2, 0.5 * (0.5 * 0.75) ** 2])
    assert w.get_value() == pytest.approx([0.5 * 0.75 * 0.875])


def test_the_penalty_is_minimised_and_not_reported() -> None:
    loss, w = line()
    update = kfgn.compile_first_order(loss, [w], [], "sgd", 0.5, l2=1.0, backend="jax")
    assert update() == pytest.approx(0.5)
    assert w.get_value() == pytest.approx([0.0], abs=1e-12)


def test_compiling_a_rule_leaves_the_graph_as_it_was() -> None:
    """A bias of a single output, whose broadcasting pytensor-ml rewrites."""
    network = kfgn.perceptron((3, 2, 1), "squared")
    parameters = list(network.parameters)
    kfgn.compile_first_order(network.loss, parameters, network.inputs, "sgd", backend="jax")
    assert len(kfgn.trace_layers(network.loss, parameters).layers) == 2


def test_a_state_that_is_restored_goes_on_as_before() -> None:
    loss, w = line()
    update = kfgn.compile_first_order(loss, [w], [], "adam", 0.1, backend="jax")
    update()
    kept = update.state()
    first = [update() for _ in range(2)]
    update.load_state(kept)
    assert [update() for _ in range(2)] == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rule": "lbfgs"}, "found 'lbfgs'; allowed: sgd, momentum, nesterov, adam"),
        ({"rate": 0.0}, "rate: found 0.0"),
        ({"rate": float("nan")}, "rate: found nan"),
        ({"halve_every": 0}, "halve_every: found 0"),
        ({"l2": -1.0}, "l2: found -1.0"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(arguments: dict[str, object], words: str) -> None:
    loss, w = line()
    with pytest.raises(kfgn.SpecError) as caught:
        kfgn.compile_first_order(loss, [w], [], **arguments)  # type: ignore[arg-type]
    assert words in str(caught.value)


@pytest.mark.parametrize(("names", "words"), [((None, "b"), "no name"), (("W", "W"), "'W'")])
def test_a_rule_with_state_asks_for_names(names: tuple[str | None, str], words: str) -> None:
    a, b = (pytensor.shared(np.ones(2), name) for name in names)
    with pytest.raises(kfgn.ParameterError, match=words):
        kfgn.compile_first_order(pt.sum((a * b) ** 2), [a, b], [], "adam", backend="jax")


def test_the_machine_s_record_is_json_and_names_what_computes() -> None:
    found = kfgn.machine_record()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["kfgn_graph"] == kfgn.__version__


def test_a_run_from_python_is_that_of_the_program(trained: Path, tmp_path: Path) -> None:
    write_data(tmp_path)
    seen: list[int] = []
    run = kfgn.train_run(
        small_spec(),
        tmp_path / "runs",
        folder=tmp_path,
        on_update=lambda k, s, loss: seen.append(k),
    )
    there = kfgn.read_run(trained)
    assert seen == list(range(1, 13))
    np.testing.assert_array_equal(run.updates["loss"], there.updates["loss"])
    assert run.evaluations[-1]["loss"] == there.evaluations[-1]["loss"]


def test_an_interrupted_run_raises_and_is_resumed(trained: Path, tmp_path: Path) -> None:
    write_data(tmp_path)

    def interrupt(update: int, seconds: float, loss: float) -> None:
        if update == 6:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        kfgn.train_run(small_spec(), tmp_path, folder=tmp_path, on_update=interrupt)
    assert len(kfgn.read_run(tmp_path / "small-1").updates["loss"]) == 6
    run = kfgn.resume_run(tmp_path / "small-1")
    np.testing.assert_array_equal(run.updates["loss"], kfgn.read_run(trained).updates["loss"])
