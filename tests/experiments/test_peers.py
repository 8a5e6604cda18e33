import json
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.environments import KFAC_JAX, cache_folder, run_script
from experiments.networks import autoencoder
from experiments.peers.training import KfacJax, write_task
from experiments.training import compile_evaluation, parameter_values


def installed() -> bool:
    return (cache_folder() / KFAC_JAX.name / "installed.txt").is_file()


def test_the_task_holds_every_layer_and_the_settings(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    values = parameter_values(autoencoder(6, (4, 2, 4)))
    x = rng.random((5, 6), dtype=np.float32)
    write_task(tmp_path / "task.npz", values, x, {"layers": 4})
    with np.load(tmp_path / "task.npz") as arrays:
        assert set(arrays.files) == {"x", "settings", *(f"{p}{i}" for p in "Wb" for i in range(4))}
        for index in range(4):
            np.testing.assert_array_equal(arrays[f"W{index}"], values[2 * index])
            np.testing.assert_array_equal(arrays[f"b{index}"], values[2 * index + 1])
        np.testing.assert_array_equal(arrays["x"], x)
        assert json.loads(str(arrays["settings"])) == {"layers": 4}


def test_a_script_is_run_line_by_line_and_its_failure_told(tmp_path: Path) -> None:
    script = tmp_path / "side.py"
    script.write_text("import os, sys\nprint('a\\nb')\nprint(os.environ['CALM'], sys.argv[1])\n")
    lines: list[str] = []
    run_script(Path(sys.executable), script, ["c"], "peer", {"CALM": "1"}, lines.append)
    assert lines == ["a", "b", "1 c"]
    with pytest.raises(RuntimeError, match=r"(?s)peer's side failed.*IndexError"):
        run_script(Path(sys.executable), script, [], "peer", {"CALM": "1"})


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="kfac-jax's environment is not there")
def test_kfac_jax_trains_from_our_weights_on_our_batches(rng: np.random.Generator) -> None:
    codes = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 12))
    x = (1 / (1 + np.exp(-codes))).astype(np.float32)
    network = autoencoder(12, (8, 3, 8))
    peer = KfacJax(initial_damping=1.0)
    run, versions = peer.train(parameter_values(network), x, "tanh", 20, [5, 10], batch=100)
    evaluate = compile_evaluation(network, [x], 100, "jax")
    assert [part.updates for part in run.evaluations] == [0, 5, 10, 20]
    assert run.evaluations[0].loss == pytest.approx(evaluate(), rel=1e-5)
    order = np.random.default_rng(0).permutation(300)[:100]
    first = compile_evaluation(network, [x[order]], 100, "jax")
    assert run.losses[0] == pytest.approx(first(), rel=1e-5)
    assert run.final.loss < run.evaluations[0].loss - 0.1
    assert versions["kfac-jax"] == "0.0.8"
