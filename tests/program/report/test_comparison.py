import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kfgn_graph.program.cli.app import app
from kfgn_graph.program.comparison import (
    differences,
    labels,
    seconds_an_update,
    setting_text,
    summarise,
)
from kfgn_graph.program.comparison_picture import sliding_mean
from kfgn_graph.program.explanation.timing import period_of
from kfgn_graph.program.runs import read_run
from tests.program.report.folders import make_run


def compare(*arguments: object):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_a_summary_tells_what_the_folder_holds(tmp_path):
    found = summarise(read_run(make_run(tmp_path / "run-1")), "run-1")
    assert (found.updates, found.final_loss, found.best_update) == (41, 1 / 40, 40)
    assert found.seconds == pytest.approx(1.41)
    assert found.seconds_an_update == pytest.approx(0.01)
    assert (found.accuracy, found.averaged_loss) == (0.5, None)


def test_the_compilation_and_a_pause_do_not_count():
    steps = np.tile([0.1, 0.3], 50)
    steps[0] += 100.0
    steps[31] += 1000.0
    assert seconds_an_update(np.cumsum(steps), 10) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("steps", "expected"), [([], None), ([9.0], None), ([9.0, 1.0, 2.0], 1.5)]
)
def test_less_than_a_period_is_averaged(steps, expected):
    assert seconds_an_update(np.cumsum(steps), 10) == expected


def test_a_period_is_when_everything_has_been_due(tmp_path):
    schedule = {"schedule": {"refresh_every": 6}, "damping": {"gamma": "search"}}
    assert period_of(read_run(make_run(tmp_path / "a", spec=schedule)).spec) == 60
    assert period_of(read_run(make_run(tmp_path / "b", spec={"method": "adam"})).spec) == 1


def test_settings_that_differ_are_found_and_names_are_none(tmp_path):
    first = make_run(tmp_path / "a-1", spec={"name": "a"})
    adam = {"name": "b", "method": {"name": "adam", "rate": 0.5}, "seed": 1}
    versions = {"machine": {"versions": {"numpy": "2.1"}, "processor": "a <b>processor</b>"}}
    second = make_run(tmp_path / "b-1", spec=adam, header=versions)
    found = differences([read_run(first), read_run(second)])
    assert found == {
        "method.name": ["kfra", "adam"],
        "method.rate": [0.001, 0.5],
        "seed": [0, 1],
        "machine.cpus": [2, None],
        "versions.numpy": ["2.0.0", "2.1"],
    }


def test_settings_are_told_as_a_spec_has_them():
    told = [setting_text(value) for value in (None, True, 0.5, "kfra", [64, 32], [])]
    assert told == ["–", "true", "0.5", "kfra", "64, 32", "none"]


def test_runs_of_one_name_are_told_by_their_paths():
    assert labels([Path("a/x-1"), Path("a/y-1")]) == ["x-1", "y-1"]
    assert labels([Path("a/x-1"), Path("b/x-1")]) == ["a/x-1", "b/x-1"]


def test_the_table_holds_all_runs_and_what_differs(tmp_path):
    first = make_run(tmp_path / "run-1")
    second = make_run(tmp_path / "run-2", scale=2.0, spec={"batch": 128})
    result = compare(first, second)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["run-1", "0.025", "0.025", "40", "50.00%", "41", "1.4", "0.01"] in lines
    assert ["run-2", "0.05", "0.05", "40", "50.00%", "41", "1.4", "0.01"] in lines
    assert ["batch", "256", "128"] in lines
    assert "cannot be compared" not in result.stdout


def test_losses_of_other_data_are_not_compared(tmp_path):
    first = make_run(tmp_path / "run-1")
    second = make_run(tmp_path / "run-2", header={"data_sha256": "1" * 64})
    assert "cannot be compared" in compare(first, second).stdout
    assert json.loads(compare(first, second, "--json").stdout)["comparable"] is False


def test_a_run_that_was_just_begun_has_no_figures(tmp_path):
    path = make_run(tmp_path / "run-1")
    (path / "metrics.jsonl").unlink()
    (row,) = json.loads(compare(path, "--json").stdout)["runs"]
    assert row == {
        "run": "run-1",
        "final_loss": None,
        "best_loss": None,
        "best_update": None,
        "averaged_loss": None,
        "accuracy": None,
        "updates": 0,
        "seconds": None,
        "seconds_an_update": None,
    }
    assert compare(path).stdout.split() == ["run", "updates", "run-1", "0"]


def test_what_is_no_run_is_told(tmp_path):
    result = compare(tmp_path)
    assert result.exit_code == 4
    assert "is not a run" in result.stderr


def test_a_picture_of_runs_has_a_suffix_and_updates(tmp_path):
    path = make_run(tmp_path / "run-1")
    drawn = tmp_path / "losses.svg"
    assert compare(path, "--picture", drawn, "--window", 3).exit_code == 0
    assert "<svg" in drawn.read_text()
    wrong = compare(path, "--picture", tmp_path / "losses.txt")
    assert wrong.exit_code == 2
    assert ".png, .svg, .pdf" in wrong.stderr


def test_a_point_of_the_picture_is_the_mean_of_a_window():
    means = sliding_mean(np.array([4.0, 2.0, 0.0, np.nan, 1.0, 3.0]), 2)
    np.testing.assert_array_equal(means, [4.0, 3.0, 1.0, np.nan, np.nan, 2.0])
