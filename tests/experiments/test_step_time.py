import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.benchmarks.configuration import Configuration
from experiments.benchmarks.step_time import measure_apart

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_benchmark_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    script = CHECKOUT / "experiments" / "benchmarks" / "step_time.py"
    options = "--sizes 20-10-20 --batch 30 --repeats 3 --output".split()
    done = subprocess.run(
        [sys.executable, str(script), *options, str(tmp_path / "times.json")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "GEMM" in done.stdout
    record = json.loads((tmp_path / "times.json").read_text(encoding="utf-8"))
    assert record["machine"]["versions"]["pytensor"]
    methods = [found["method"] for found in record["configurations"]]
    assert methods == ["kfra", "kfra-fresh", "kfra-plain", "adam"]
    for found in record["configurations"]:
        assert 0 < found["step_in_gemms"] < 10
        assert found["ratio_full"] == pytest.approx(found["step_in_gemms"] / found["limit_full"])
        assert found["first_call_seconds"] >= found["build_seconds"] > 0
        assert found["memory_peak_mib"] >= found["memory_before_mib"] > 10


def test_a_configuration_that_is_not_offered_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kfra, .*adam"):
        Configuration("sgd", "jax")
    with pytest.raises(ValueError, match="jax, numba, c"):
        Configuration("kfra", "torch")


@pytest.mark.slow
def test_a_process_that_fails_is_told_with_its_last_lines() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)kfra on jax failed.*BatchError"):
        measure_apart(Configuration("kfra", "jax", sizes=(4, 2, 4), batch=0))
