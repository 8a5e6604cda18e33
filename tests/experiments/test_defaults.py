import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console

from experiments.defaults.__main__ import chosen, report
from experiments.defaults.problems import PROBLEMS, Material, Problem, standardised
from experiments.defaults.runs import METHODS, read_runs, run_tasks, tasks
from experiments.defaults.summary import exceptions, markdown, summarise, verdict
from experiments.networks import regressor

QUIET = Console(quiet=True)


def tiny(rng: np.random.Generator) -> Problem:
    x = rng.normal(size=(40, 3)).astype(np.float32)
    material = Material((x, np.tanh(x[:, :1])))
    return replace(
        PROBLEMS["concrete"],
        load=lambda: material,
        build=lambda seed: regressor((3, 4, 1), seed=seed),
        batch=20,
        updates=8,
        seeds=(0, 1),
    )


def made(
    method: str, losses: list[float], seed: int = 0, rate: float | None = None, skipped: int = 0
) -> dict[str, Any]:
    """A finished run of the concrete problem."""
    evaluations = [
        {"updates": 10 * i, "seconds": 1.0 * i, "loss": loss} for i, loss in enumerate(losses)
    ]
    return {
        "problem": "concrete",
        "method": method,
        "rate": rate,
        "seed": seed,
        "floor": 0.0,
        "diverged": not losses[-1] <= losses[0],
        "run": {"evaluations": evaluations, "seconds": [0.0, 0.1, 0.2], "skipped": skipped},
    }


def test_runs_are_kept_and_not_done_again(tmp_path: Path, rng: np.random.Generator) -> None:
    wanted = list(tasks([tiny(rng)], ["adam"], rates=[1e-2, 1e-1]))
    assert len(wanted) == 4
    run_tasks(wanted[:3], tmp_path, QUIET, "jax")
    first = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert sorted(first) == sorted(f"{task.stem}.json" for task in wanted[:3])
    run_tasks(wanted, tmp_path, QUIET, "jax")
    assert len(list(tmp_path.iterdir())) == 4
    assert all((tmp_path / name).stat().st_mtime_ns == at for name, at in first.items())
    found = read_runs(tmp_path)
    assert {record["rate"] for record in found} == {1e-2, 1e-1}
    assert all(record["run"]["evaluations"][-1]["updates"] == 8 for record in found)
    assert found[0]["machine"]["versions"]["pytensor"]


def test_the_defaults_run_beside_them(tmp_path: Path, rng: np.random.Generator) -> None:
    run_tasks(list(tasks([tiny(rng)], ["kfra"], [0])), tmp_path, QUIET, "jax")
    (record,) = read_runs(tmp_path)
    assert record["run"]["settings"] == "defaults"
    assert record["run"]["evaluations"][-1]["statistics"]["damping"] > 0


def test_kflr_runs_only_where_the_outputs_are_few() -> None:
    study = list(tasks(list(PROBLEMS.values())))
    with_kflr = {task.problem.name for task in study if task.method == "kflr"}
    assert with_kflr == {"mnist-classes", "digits-classes", "concrete", "power-plant"}
    assert {task.method for task in study} == set(METHODS)
    assert len({task.stem for task in study}) == len(study)


def test_a_first_order_method_is_told_at_its_best_rate() -> None:
    records = [
        made("adam", [9.0, losses[seed]], seed, rate)
        for rate, losses in {0.1: (4.0, 9.5), 0.01: (2.0, 3.0), 0.001: (5.0, 5.0)}.items()
        for seed in (0, 1)
    ]
    records.append(made("adam", [9.0, 0.5], 0, 1.0))  # a rate that lacks a seed is not the best
    (row,) = summarise(records)
    assert (row.rate, row.edge, row.finals, row.mean) == (0.01, False, (2.0, 3.0), 2.5)
    assert (row.diverged, row.tried) == (1, 7)
    assert "rate 0.01; 1 of 7 runs diverged" in markdown([row])
    (edge,) = summarise([made("adam", [9.0, 1.0], 0, rate) for rate in (0.1, 0.2)])
    assert edge.edge
    assert "edge of the grid" in markdown([edge])


def test_the_verdict_compares_each_run_with_its_own_seed() -> None:
    records = [
        made("kfra", [9.0, 1.0], 0),
        made("kfra", [9.0, 2.5], 1, skipped=3),
        made("kfac", [9.0, float("nan")], 0),
        made("adam", [9.0, 2.0], 0, 0.1),
        made("nesterov", [9.0, 3.0], 1, 0.1),
        made("nesterov", [9.0, float("nan")], 1, 0.2),
    ]
    assert exceptions(records) == ["concrete, KFAC, seed 0: nan against 2"]
    assert verdict(records).startswith("2 of 3 second-order runs end below")
    assert "1 of 3 diverged" in verdict(records)
    assert "3 updates skipped" in markdown(summarise(records))


def test_the_report_writes_table_numbers_and_pictures(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    for seed in (0, 1):
        for record in (made("kfra", [9.0, 3.0, 1.0], seed), made("adam", [9.0, 4.0], seed, 0.1)):
            path = runs / f"concrete--{record['method']}--seed{seed}.json"
            path.write_text(json.dumps(record), encoding="utf-8")
    paths = report(tmp_path, QUIET)
    assert [path.name for path in paths] == [
        "table.md",
        "results.json",
        "losses-by-updates.png",
        "losses-by-seconds.png",
    ]
    assert "| concrete | KFRA | 1 |" in paths[0].read_text(encoding="utf-8")
    assert json.loads(paths[1].read_text(encoding="utf-8"))["machine"]["command"]
    for path in paths[2:]:
        with Image.open(path) as picture:
            assert min(picture.size) > 200


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    assert report(tmp_path, QUIET) == []


def test_an_unknown_problem_is_told_with_the_known_ones() -> None:
    assert chosen("concrete, curves", PROBLEMS, "--problems") == ["concrete", "curves"]
    with pytest.raises(typer.BadParameter, match="there is no 'boston'; there are mnist-tanh"):
        chosen("boston", PROBLEMS, "--problems")


def test_standardised_columns() -> None:
    values = standardised(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32))
    np.testing.assert_array_equal(values, [[-1.0, 0.0], [1.0, 0.0]])


@pytest.mark.needs_data
@pytest.mark.parametrize("name", ["digits-classes", "concrete", "power-plant"])
def test_the_networks_fit_the_real_data(name: str, data_folder: Path) -> None:
    problem = PROBLEMS[name]
    material = problem.load()
    network = problem.build(0)
    assert len(material.arrays) == len(network.inputs)
    assert material.arrays[0].shape[1] == network.parameters[0].get_value().shape[0]
    assert network.parameters[-1].get_value().shape == (problem.outputs,)
    assert len(material.arrays[0]) >= problem.batch
