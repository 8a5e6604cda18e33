import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

import kfgn_graph as kfgn
from experiments.demo.config import DemoConfig
from experiments.demo.run import load_dataset, run_demo

CHECKOUT = Path(__file__).resolve().parents[2]
TINY = {"updates": 6, "seconds": 60.0, "dataset": "digits", "batch": 100, "hidden": (12, 4, 12)}


def test_the_demo_writes_its_pictures_and_numbers(tmp_path: Path) -> None:
    printed = io.StringIO()
    config = DemoConfig(**TINY, backend="jax", output=tmp_path)  # type: ignore[arg-type]
    kfra, adam = run_demo(config, Console(file=printed, width=200))
    assert (kfra.name, adam.name) == ("KFRA", "Adam")
    assert kfra.updates == adam.updates == 6
    assert kfra.evaluations[0].loss == adam.evaluations[0].loss
    assert kfra.losses[0] == pytest.approx(adam.losses[0], rel=1e-5)
    assert kfra.final.loss < kfra.evaluations[0].loss
    for name in ("losses.png", "reconstructions.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200
        assert str(tmp_path / name) in printed.getvalue()
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [run["name"] for run in record["runs"]] == ["KFRA", "Adam"]
    assert record["runs"][0]["evaluations"][-1]["loss"] == pytest.approx(kfra.final.loss)
    assert f"{kfra.final.loss:.2f}" in printed.getvalue()
    assert "rate 0.001" in printed.getvalue()


@pytest.mark.slow
def test_the_command_line_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = "-m experiments.demo --updates 2 --dataset digits --batch 50 --hidden 6,3,6"
    done = subprocess.run(
        [sys.executable, *command.split(), "--backend", "jax", "--output", str(tmp_path)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "KFRA" in done.stdout
    assert (tmp_path / "losses.png").is_file()


def test_auto_falls_to_curves_only_where_mnist_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marker = kfgn.Dataset("curves", None, None, "")  # type: ignore[arg-type]
    error: kfgn.KfgnError = kfgn.DataNotFound("no MNIST here")

    def load_data(name: str, **_: object) -> kfgn.Dataset:
        if name == "mnist":
            raise error
        return marker

    printed = io.StringIO()
    monkeypatch.setattr(kfgn, "load_data", load_data)
    assert load_dataset("auto", Console(file=printed)) is marker
    assert "no MNIST here" in printed.getvalue()
    with pytest.raises(kfgn.DataNotFound):
        load_dataset("mnist", Console(file=printed))
    error = kfgn.DataCorrupt("MNIST is damaged")
    with pytest.raises(kfgn.DataCorrupt):
        load_dataset("auto", Console(file=printed))
