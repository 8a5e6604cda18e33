import json
import signal
from pathlib import Path

import numpy as np
import pytest

from experiments.faults.kills import compared
from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.checkpoints import load_parameters, read_checkpoint
from kfgn_graph.program.runs import METRICS, read_run
from kfgn_graph.program.spec import parse_spec
from kfgn_graph.program.spec.models import BudgetSpec
from kfgn_graph.program.storage import locked
from kfgn_graph.program.training import LOCK, go_on, start
from tests.program.small import (
    ADAM,
    KFRA,
    Watch,
    checkpoints,
    interrupting,
    train,
    write_data,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_data(tmp_path)
    return tmp_path


def test_a_run_s_folder_has_all_that_was_done(folder):
    watch = Watch()
    outcome = train(folder, watch)
    record = read_run(outcome.path)
    assert (outcome.reason, outcome.update) == ("updates", 12)
    assert record.updates["update"].tolist() == list(range(1, 13))
    assert [line["update"] for line in record.evaluations] == [0, 5, 10, 12]
    assert watch.evaluated_at == [0, 5, 10, 12]
    assert checkpoints(outcome.path) == [4, 8, 12]
    assert [update for update, _ in record.snapshots] == [0, 5, 10, 12]
    assert record.header["parameters"] == 4 * 5 + 5 + 5 * 3 + 3
    assert np.isfinite(record.updates["loss"]).all()
    assert record.evaluations[-1]["loss"] < record.evaluations[0]["loss"]


def test_the_last_checkpoints_are_kept(folder):
    assert checkpoints(train(folder, checkpoint=1, keep=2).path) == [11, 12]


def test_runs_are_numbered(folder):
    paths = [train(folder, budget="updates = 1").path.name for _ in range(2)]
    assert paths == ["small-1", "small-2"]


@pytest.mark.parametrize(
    ("budget", "update", "reason"),
    [
        ("updates = 3", 3, "updates"),
        ("epochs = 1.5", 6, "updates"),
        ("epochs = 0.01", 1, "updates"),
        ("seconds = 1e-9", 1, "seconds"),
        ("updates = 2\nepochs = 9", 2, "updates"),
        ("updates = 9\nseconds = 1e-9", 1, "seconds"),
    ],
)
def test_the_first_limit_ends_training(folder, budget, update, reason):
    outcome = train(folder, budget=budget)
    assert (outcome.update, outcome.reason) == (update, reason)
    assert checkpoints(outcome.path)[-1] == update


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(ADAM, id="adam"),
        pytest.param(KFRA, id="kfra"),
        pytest.param('"kfac"', id="kfac", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(folder, method):
    alone = train(folder, runs="alone", method=method)
    watch = interrupting(7)
    stopped = train(folder, watch, method=method)
    assert (stopped.reason, stopped.update) == ("interrupted", 7)
    assert "stopping after this update" in watch.notes
    assert checkpoints(stopped.path)[-1] == 7
    finished = go_on(stopped.path, Watch())
    assert (finished.reason, finished.update) == ("updates", 12)
    assert compared(alone.path, finished.path) == []


def test_what_came_after_the_checkpoint_is_done_again(folder):
    alone = train(folder, runs="alone")

    def crash() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        train(folder, Watch(7, crash))
    path = folder / "runs" / "small-1"
    assert read_run(path).updates["update"].tolist() == list(range(1, 8))
    watch = Watch()
    go_on(path, watch)
    assert watch.updates == list(range(5, 13))
    assert compared(alone.path, path) == []


def test_a_finished_run_goes_on_with_another_budget(folder):
    alone = train(folder, runs="alone", budget="updates = 15")
    path = train(folder).path
    assert go_on(path, Watch()).update == 12
    outcome = go_on(path, Watch(), budget=BudgetSpec(updates=15))
    assert outcome.update == 15
    assert read_run(path).spec.budget == BudgetSpec(updates=15)
    ends = [load_parameters(p) for p in (alone.path, path)]
    assert all(ends[0][name].tobytes() == ends[1][name].tobytes() for name in ends[0])


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_offered(folder):
    alone = train(folder, runs="alone")
    path = train(folder).path
    newest = path / "checkpoints" / "update-00000012.safetensors"
    newest.write_bytes(newest.read_bytes()[:-7])
    with pytest.raises(CheckpointError) as caught:
        go_on(path, Watch())
    assert str(newest) in str(caught.value)
    assert f"kfgn resume {path} --from update-00000008.safetensors" in str(caught.value)
    go_on(path, Watch(), "update-00000008.safetensors")
    assert compared(alone.path, path) == []


def test_other_data_are_refused(folder):
    path = train(folder, interrupting(3)).path
    write_data(folder, seed=1)
    with pytest.raises(CheckpointError, match="are not the data that"):
        go_on(path, Watch())


def test_a_checkpoint_of_another_spec_is_foreign(folder):
    path = train(folder, interrupting(3)).path
    other = train(folder, runs="other", method='{ name = "adam", rate = 0.02 }').path
    newest = sorted((other / "checkpoints").iterdir())[-1]
    (path / "checkpoints" / newest.name).write_bytes(newest.read_bytes())
    with pytest.raises(CheckpointError, match="foreign: it is a checkpoint of another spec"):
        go_on(path, Watch())


def test_a_run_that_is_being_trained_is_left_alone(folder):
    path = train(folder, interrupting(3)).path
    with (
        locked(path / LOCK),
        pytest.raises(CheckpointError, match="being trained by another process"),
    ):
        go_on(path, Watch())
    assert go_on(path, Watch()).update == 12


def test_losses_that_are_not_finite_end_a_run(folder):
    with np.errstate(all="ignore"):
        outcome = train(
            folder, method='{ name = "sgd", rate = 1e38 }', budget="updates = 100", keep=1
        )
    assert outcome.reason == "diverged"
    assert outcome.update < 100
    record = read_run(outcome.path)
    assert np.isnan(record.updates["loss"][-1])
    assert record.evaluations[-1]["loss"] is None


def test_the_handlers_are_given_back(folder):
    before = signal.getsignal(signal.SIGINT)
    train(folder, interrupting(2))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_checkpoint_s_header_has_what_a_run_is(folder):
    outcome = train(folder)
    header = read_checkpoint(outcome.path / "checkpoints" / "update-00000012.safetensors").header
    assert header["seed"] == 0
    assert header["spec"]["name"] == "small"
    assert header["counters"]["update"] == 12
    assert {"generator", "epoch", "position"} <= header["order"].keys()
    assert "numpy" in header["versions"]


def test_metrics_are_json_lines(folder):
    path = train(folder).path / METRICS
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["kind"] for line in lines].count("update") == 12
    assert lines[0]["kind"] == "evaluation"


STALLING = """
import numpy as np, pytensor, pytensor.tensor as pt

def root():
    x = pt.matrix("x", shape=(None, 2))
    W = pytensor.shared(np.zeros((2, 1)), name="W", shape=(2, 1))
    return pt.sqrt((x @ W) ** 2).sum(axis=1).mean(), [W], [x]
"""
STALLED_SPEC = """
name = "stalled"
graph = "{module}:root"
batch = 10
backend = "jax"
method = "kfra"
[data]
file = "data.npz"
[budget]
updates = 60
"""


def test_training_that_stalls_is_noted_and_recorded(tmp_path):
    module = "graph_that_stalls"
    (tmp_path / f"{module}.py").write_text(STALLING, "utf-8")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(40, 2)))
    watch = Watch()
    spec = parse_spec(STALLED_SPEC.format(module=module), "toml")
    outcome = start(spec, tmp_path, tmp_path / "runs", watch)
    assert outcome.reason == "updates"
    notes = [text for text in watch.notes if "in a row" in text]
    assert len(notes) == 1
    assert notes[0].startswith("update 50: 50 updates in a row moved no parameter")
    assert "the gradient is not finite" in notes[0]
    assert read_run(outcome.path).updates["untaken"].tolist() == list(range(1, 61))
