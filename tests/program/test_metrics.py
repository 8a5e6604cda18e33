import json
import math

import numpy as np
import pytest

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.metrics import MetricsFile, read_metrics, update_line

EVALUATION = {"kind": "evaluation", "update": 2, "seconds": 0.2, "loss": 1.0}


def line(update: int, loss: float = 1.0, **statistics: float):
    return update_line(update, update / 10, loss, statistics)


@pytest.fixture
def path(tmp_path):
    with MetricsFile(tmp_path / "metrics.jsonl", 0) as file:
        for update in (1, 2, 3):
            file.add(line(update, 1 / update, damping=0.5, skipped=0.0))
            if update == 2:
                file.add(EVALUATION)
    return tmp_path / "metrics.jsonl"


def test_updates_are_columns_and_evaluations_lines(path):
    columns, evaluations = read_metrics(path)
    assert columns["update"].tolist() == [1, 2, 3]
    assert columns["loss"].tolist() == [1, 1 / 2, 1 / 3]
    assert columns["damping"].dtype == np.float64
    assert evaluations == [EVALUATION]


def test_flags_are_true_or_false(path):
    first = json.loads(path.read_text().splitlines()[0])
    assert first["skipped"] is False


def test_what_is_not_finite_is_null_and_reads_as_nan(tmp_path):
    path = tmp_path / "a.jsonl"
    with MetricsFile(path, 0) as file:
        file.add(line(1, math.nan, damping=math.inf))
    assert json.loads(path.read_text())["damping"] is None
    columns, _ = read_metrics(path)
    assert np.isnan(columns["loss"]).all()


def test_zero_has_no_sign(tmp_path):
    path = tmp_path / "a.jsonl"
    with MetricsFile(path, 0) as file:
        file.add(line(1, -0.0))
    assert '"loss": 0.0' in path.read_text()


def test_later_lines_are_cut_off_with_what_is_half_written(path):
    with path.open("ab") as stream:
        stream.write(b'{"kind": "upd')
    assert len(read_metrics(path)[0]["update"]) == 3
    with MetricsFile(path, 2) as file:
        file.add(line(3, 9.0))
    columns, evaluations = read_metrics(path)
    assert columns["loss"].tolist() == [1, 1 / 2, 9]
    assert len(evaluations) == 1


def test_a_column_that_begins_late_has_no_values_before(tmp_path):
    path = tmp_path / "a.jsonl"
    with MetricsFile(path, 0) as file:
        file.add(line(1))
        file.add(line(2, gamma=0.5))
    np.testing.assert_array_equal(read_metrics(path)[0]["gamma"], [np.nan, 0.5])


@pytest.mark.parametrize("bad", ["{", "[]", '{"kind": "x", "update": 1}', '{"kind": "update"}'])
def test_a_line_of_something_else_is_named(path, bad):
    path.write_text(path.read_text() + bad + "\n")
    with pytest.raises(CheckpointError, match=r"line 5: not a metrics line"):
        read_metrics(path)
