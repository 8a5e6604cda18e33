import json

import numpy as np
import pytest
from typer.testing import CliRunner

from kfgn_graph.program.cli.app import app
from kfgn_graph.program.explanation import timing
from kfgn_graph.program.machine import peak_memory
from tests.program.explanation.graphs import write_spec


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "UNIT_SIZE", 50)
    return str(write_spec(tmp_path, "library_model"))


def bench(*arguments: str):
    return CliRunner().invoke(app, ["bench", *arguments, "--pause", "0"])


def test_json_has_the_update_in_units_and_what_it_took(spec):
    done = bench(spec, "--updates", "31", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["timing"]["updates"] == 40  # whole periods of ten
    low, high = found["timing"]["quartiles"]
    assert 0 < low <= high
    ratio = found["timing"]["seconds"] / found["timing"]["unit"]
    assert found["timing"]["units"] == pytest.approx(ratio, rel=0.9)
    assert found["memory_before"] <= found["memory_peak"]
    assert found["build_seconds"] > 0
    assert found["machine"]["versions"]["pytensor"]


def test_the_table_names_the_unit_and_the_first_call(spec):
    lines = bench(spec).stdout.splitlines()
    rows = [line.split(maxsplit=1)[0] for line in lines]
    assert rows == ["update", "takes", "quartiles", "unit", "building", "first", "peak"]
    assert "float32 product" in lines[3]


def test_a_spec_that_does_not_build_is_an_error_of_specs(tmp_path):
    assert bench(str(tmp_path / "none.toml")).exit_code == 2


@pytest.mark.slow
def test_peak_memory_counts_what_is_allocated():
    before = peak_memory()
    held = np.ones(int(before + 64) * 2**17)  # as many MiB as the peak, and 64 more
    assert peak_memory() - before >= 0.9 * 64
    assert held[-1] == 1
