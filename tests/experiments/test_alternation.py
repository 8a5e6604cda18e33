import json
import sys
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks import __main__ as command
from experiments.benchmarks import worker
from experiments.benchmarks.cases import Case
from experiments.benchmarks.measuring import measure_apart
from experiments.benchmarks.nets import BATCHES, NETS, Net
from experiments.benchmarks.systems import FIRST, SYSTEMS
from experiments.environments import Environment, cache_folder
from experiments.peers import alternation
from experiments.peers.training import write_task
from experiments.training import parameter_values

NET = Net("tiny", (6, 5, 3), "relu", "softmax", 8)
CASE = Case(NET, "kfgn_graph", "jax", "kfra", 1, False, 3)


def installed(environment: Environment) -> bool:
    stamp = cache_folder() / environment.name / "installed.txt"
    return stamp.is_file() and stamp.read_text() == "\n".join(environment.requirements)


@pytest.fixture
def task(tmp_path: Path) -> alternation.Task:
    x, y = NET.data()
    write_task(tmp_path / "task.npz", parameter_values(NET.network()), x, CASE.settings(), y)
    return alternation.Task(tmp_path / "task.npz")


@pytest.fixture
def small_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternation, "GEMM_SIZE", 8)
    monkeypatch.setattr(alternation, "PAUSE", 0.0)
    monkeypatch.setattr(alternation, "MOVED", 1000)


def test_a_task_is_read_as_it_was_written(task: alternation.Task) -> None:
    assert task.settings == json.loads(json.dumps(CASE.settings()))
    assert [weight.shape for weight, _ in task.layers] == [(6, 5), (5, 3)]
    x, y = NET.data()
    assert len(task.batches) == BATCHES
    np.testing.assert_array_equal(task.batches[1][0], x[8:16])
    np.testing.assert_array_equal(task.batches[1][1], y[8:16])


def test_updates_and_products_are_timed_in_turn(
    task: alternation.Task, small_unit: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def make_step(given: alternation.Task) -> object:
        assert given is task
        return lambda x, y: calls.append("step") or 1.0

    monkeypatch.setattr(alternation, "numpy_product", lambda *_: lambda: calls.append("unit"))
    monkeypatch.setattr(alternation, "SHORT", 0.0)
    found = alternation.measure(task, make_step, lambda *_: lambda: calls.append("own"))
    before = ["step"] * (CASE.warmup + 2 * CASE.period + 2)
    assert calls == [*before, "unit", "own", "unit", *["step", "unit", "own"] * CASE.repeats]
    assert found["calls"] == 1
    assert len(found["step_seconds"]) == len(found["own_gemm_seconds"]) == CASE.repeats
    assert len(found["gemm_seconds"]) == CASE.repeats + 1
    assert found["memory_peak_mib"] >= found["memory_before_mib"] > 10
    assert found["bandwidth"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="the record of memory is Linux's")
def test_the_growth_of_an_update_is_that_of_what_it_frees_again() -> None:
    def step(x: object, y: object) -> None:
        np.ones(2**23, np.float32).sum()

    alternation.give_back_freed_memory()
    held = np.ones(2**24, np.float32)
    assert alternation.growth_of_updates(step, cycle([(None, None)]), 2) == pytest.approx(
        32, abs=4
    )
    del held


def test_ours_leaps_over_the_updates_that_do_everything() -> None:
    class Counted:
        count = 0

        @property
        def update(self) -> "Counted":
            return self

        def __call__(self, x: float) -> float:
            self.count += 1
            return self.count

        def state(self) -> dict[str, int]:
            return {"count": self.count, "other": 1}

        def load_state(self, state: dict[str, int]) -> None:
            assert state["other"] == 1
            self.count = state["count"]

    step = worker.leap(Counted(), 3)  # type: ignore[arg-type]
    assert [step(1.0) for _ in range(5)] == [1, 2, FIRST, FIRST + 1, FIRST + 2]


def test_short_updates_are_timed_in_whole_periods(
    task: alternation.Task, small_unit: None
) -> None:
    done: list[int] = []
    settings = {"period": 5, "repeats": 3}
    batches = iter(lambda: task.batches[0], None)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        done.append(len(x))
        return 0.0

    found = alternation.alternate(step, batches, alternation.numpy_product, settings)
    assert found["calls"] % 5 == 0
    assert len(found["step_seconds"]) == 3
    assert len(done) == 2 * 5 + 3 * found["calls"]


def test_the_answer_is_written(
    task: alternation.Task, small_unit: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["script", str(tmp_path / "task.npz"), str(tmp_path / "answer.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    alternation.serve(lambda _: lambda x, y: 2.5, alternation.numpy_product, ["numpy"])
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["first_loss"] == 2.5
    assert answer["versions"] == {"numpy": np.__version__}


@pytest.mark.slow
def test_a_process_that_fails_is_told_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)kfgn_graph's side failed.*KeyError: 'none'"):
        measure_apart(Case(NET, "kfgn_graph", "jax", "none"), tmp_path)


@pytest.mark.slow
def test_the_command_measures_tabulates_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(NETS, "tiny", NET)  # type: ignore[arg-type]
    options = {
        "nets": "tiny",
        "systems": "kfgn_graph,pytensor-ml",
        "backends": "jax",
        "methods": "kfra,adam",
        "refresh": "5",
    }
    for _ in range(2):
        command.main(**options, adapting="on", repeats=2, output=tmp_path, parts=True)
    said = capsys.readouterr().out
    assert said.count("run 1, 1 of 2: tiny_kfgn_graph_jax_kfra_refresh5_adaptive") == 1
    assert "one update, in GEMMs" in said
    assert "preconditioning" in said
    results = json.loads((tmp_path / "results.json").read_text())
    assert [row["method"] for row in results["rows"]] == ["kfra", "adam"]
    first = [record["measured"]["first_loss"] for record in results["records"]]
    assert first[0] == pytest.approx(first[1])
    assert results["machine"]["versions"]["pytensor"]
    assert "kfgn_graph jax kfra every 5, adaptive" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "bars.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "system", [name for name, system in SYSTEMS.items() if system.environment]
)
def test_a_peer_starts_from_our_weights_on_our_batches(system: str, tmp_path: Path) -> None:
    described = SYSTEMS[system]
    if not installed(described.environment):  # type: ignore[arg-type]
        pytest.skip(f"the environment of {system} is not there")
    network = NET.network()
    x, y = NET.data()
    expected = network.loss.eval(dict(zip(network.inputs, (x[:8], y[:8]), strict=True)))
    for method in described.methods:
        adaptive = described.adaptive[0]
        peer = Case(NET, system, described.backends[0], method, 1, adaptive, 2)
        found = measure_apart(peer, tmp_path)
        assert found["first_loss"] == pytest.approx(float(expected), rel=1e-4)
        assert found["last_loss"] < found["first_loss"] + 0.5
