import json
from pathlib import Path

import pytest

import kfgn_graph as kfgn
from experiments.benchmarks.cases import Case
from experiments.benchmarks.figures import GEMM_FLOPS, figures, typical
from experiments.benchmarks.flops import totals, update_terms
from experiments.benchmarks.growth import series_of, table_of
from experiments.benchmarks.growth_pictures import draw_growth
from experiments.benchmarks.measuring import Record, failures, measure_all, read_record
from experiments.benchmarks.memory import kept
from experiments.benchmarks.nets import Net
from experiments.benchmarks.pictures import draw_bars
from experiments.benchmarks.series import slope
from experiments.benchmarks.summary import remarks, summarise
from experiments.benchmarks.tables import HEADINGS, breakdown_table, markdown, rich_tables
from experiments.records import write_json

NET = Net("tiny", (300, 200, 300), "tanh", "bernoulli", 1000)
CASE = Case(NET, "kfgn_graph", "jax", "kfra", 5, True)
PEER = Case(NET, "backpack", "torch", "kfra", 1, False)
MIB = 2.0**20


def measured(period: int, slow: float = 1.0) -> dict[str, object]:
    """Three periods; the first update of each takes five units, the others one and a half."""
    unit = 0.1
    steps = [slow * unit * (5.0 if i % period == 0 else 1.5) for i in range(3 * period)]
    return {
        "calls": 1,
        "step_seconds": steps,
        "gemm_seconds": [unit] * (len(steps) + 1),
        "own_gemm_seconds": [unit / 2] * len(steps),
        "bandwidth": 1e10,
        "memory_before_mib": 100.0,
        "memory_peak_mib": 150.0,
        "memory_update_mib": 3.0,
        "first_call_seconds": 2.0,
    }


def record(case: Case, run: int = 1, slow: float = 1.0) -> Record:
    found = measured(case.period, slow)
    return {
        "key": case.key,
        "run": run,
        "note": case.note,
        "reason": case.reason,
        "settings": json.loads(json.dumps(case.settings())),
        "machine": json.loads(json.dumps(kfgn.machine_record())),
        "cold": run == 1,
        "measured": found,
        "figures": figures(case, found),
    }


def test_the_figure_is_the_mean_over_a_period() -> None:
    found = figures(CASE, measured(CASE.period))
    assert found["step"]["median"] == pytest.approx((5 + 4 * 1.5) / 5)  # type: ignore[index]
    assert found["own"]["median"] == pytest.approx(2 * (5 + 4 * 1.5) / 5)  # type: ignore[index]
    assert found["step"]["low"] == pytest.approx(found["step"]["high"])  # type: ignore[index]


def test_quartiles_are_those_of_each_phase() -> None:
    spread = typical([1.0, 10.0, 2.0, 20.0, 3.0, 30.0], 2)
    assert spread == {"low": (1.5 + 15) / 2, "median": (2 + 20) / 2, "high": (2.5 + 25) / 2}


def test_limits_are_operations_or_bytes_whichever_takes_longer() -> None:
    found = figures(CASE, measured(CASE.period))
    full, half = totals(update_terms(NET.sizes, NET.batch, CASE.work))
    assert found["limit_full"] == full / GEMM_FLOPS > found["limit_half"] == half / GEMM_FLOPS
    slower = figures(CASE, measured(CASE.period) | {"bandwidth": 1e6})
    step = slower["step"]["median"]  # type: ignore[index]
    assert slower["limit_bytes"] == pytest.approx(slower["bytes"] / 1e6 / 0.1)  # type: ignore[operator]
    assert slower["ratio_full"] == pytest.approx(step / slower["limit_bytes"])


def test_an_updates_memory_is_what_is_held_and_what_it_adds() -> None:
    parts = {part.name: part.count for part in kept(NET.sizes, NET.batch, CASE.work)}
    assert parts["parameters"] == 4 * 2 * (301 * 200 + 201 * 300)
    assert parts["factors"] == parts["inverses"] == 4 * (301**2 + 200**2 + 201**2 + 300**2)
    between = parts["parameters"] + parts["factors"] + parts["inverses"]
    found = figures(CASE, measured(CASE.period))
    assert found["kept_mib"] == pytest.approx((between + 4 * 1000 * 500) / MIB)
    assert found["update_mib"] == pytest.approx(between / MIB + 3)
    fresh = Case(NET, "kfgn_graph", "jax", "kfra", 1, True)
    without = figures(fresh, measured(fresh.period))
    assert without["update_mib"] == pytest.approx((between - parts["inverses"]) / MIB + 3)
    assert without["ratio_memory"] == pytest.approx(without["update_mib"] / found["kept_mib"])  # type: ignore[operator]


def test_runs_are_brought_together_with_their_spread() -> None:
    rows = summarise([record(CASE, 1), record(PEER, 1), record(CASE, 2, 1.1), record(CASE, 3, 2)])
    assert [(row.system, row.runs) for row in rows] == [("kfgn_graph", 3), ("backpack", 1)]
    assert rows[0].figures["step.median"] == pytest.approx(1.1 * 2.2)
    assert rows[0].spread == pytest.approx((2.2, 4.4))
    assert rows[0].figures["first_call"] == rows[0].figures["from_disk"] == 2
    assert "from_disk" not in rows[1].figures
    assert rows[0].label == "kfgn_graph jax kfra every 5, adaptive"


def test_tables_hold_every_case_and_what_is_to_be_said() -> None:
    refused = {**record(CASE), "reason": "too wide"}
    del refused["figures"]
    failed = {**record(PEER), "failure": "first line\nlast line"}
    del failed["figures"]
    records = [record(CASE), record(PEER), refused, failed]
    text = markdown(summarise(records), remarks(records))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert all(line.count("|") == len(HEADINGS) + 1 for line in lines)
    assert "backpack, kfra: no Bernoulli loss" in text
    assert "too wide" in text
    assert "FAILED: last line" in text
    assert failures(records) == [f"{PEER.key}, run 1: first line\nlast line"]
    (table,) = rich_tables(summarise(records))
    assert table.row_count == 2
    assert breakdown_table([CASE, CASE]).row_count == len(
        [*update_terms(NET.sizes, NET.batch, CASE.work), "all"]
    )


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    path = draw_bars(summarise([record(CASE), record(PEER)]), tmp_path / "bars.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_what_is_there_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measure(case: Case, caches: Path) -> Record:
        asked.append(case.key)
        caches.mkdir(exist_ok=True)
        if case == PEER and len(asked) == 2:
            raise RuntimeError("no such library")
        return measured(case.period)

    monkeypatch.setattr("experiments.benchmarks.measuring.measure_apart", measure)
    records = measure_all([CASE, PEER], 1, tmp_path)
    assert failures(records) == [f"{PEER.key}, run 1: no such library"]
    records = measure_all([CASE, PEER], 1, tmp_path)
    assert asked == [CASE.key, PEER.key, PEER.key]
    assert not failures(records)
    assert [r["run"] for r in measure_all([CASE], 3, tmp_path)] == [1, 2, 3]
    assert [r["cold"] for r in measure_all([CASE], 4, tmp_path / "new")] == [True] + 3 * [False]
    assert asked.count(CASE.key) == 7
    measure_all([CASE], 1, tmp_path, fresh=True)
    assert asked.count(CASE.key) == 8


def test_a_record_of_other_settings_or_another_machine_is_not_taken(tmp_path: Path) -> None:
    path = write_json(tmp_path / "record.json", record(CASE))
    assert read_record(path, CASE)
    assert not read_record(path, Case(NET, "kfgn_graph", "jax", "kfra", 5, True, repeats=7))
    elsewhere = record(CASE)
    elsewhere["machine"]["cpus"] = 1000
    assert not read_record(write_json(path, elsewhere), CASE)
    older = record(CASE)
    del older["cold"], older["measured"]["memory_update_mib"]
    assert not read_record(write_json(path, older), CASE)


def test_what_is_not_measured_on_purpose_starts_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.benchmarks.measuring.measure_apart", pytest.fail)
    wide = Case(NET, "kfgn_graph", "jax", "kflr")
    (found,) = measure_all([wide], 1, tmp_path)
    assert "300 columns" in found["reason"]
    assert not failures([found])


def test_exponents_are_those_of_powers(tmp_path: Path) -> None:
    assert slope([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    sizes, records = (500, 1000), []
    for size in sizes:
        grown = Net(f"batch-{size}", NET.sizes, "tanh", "bernoulli", size)
        records.append(record(Case(grown, "kfgn_graph", "jax", "kfra"), slow=size**1.5))
    series = series_of("batch", "kfra", sizes, records)
    assert series.time.exponent == pytest.approx(1.5) == series.time.top
    assert 0 < series.time.predicted_exponent < 1
    assert series.memory.exponent == pytest.approx(0)
    assert series.time.scaled[-1] == pytest.approx(series.time.measured[-1])
    assert table_of([series]).row_count == 2
    assert draw_growth([series], tmp_path / "growth.png").is_file()
