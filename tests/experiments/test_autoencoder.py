import json
import math
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console

import kfgn_graph as kfgn
from experiments.autoencoder import run as module
from experiments.autoencoder.__main__ import parse_methods, parse_rates
from experiments.autoencoder.run import Config, judgements, run_all
from experiments.autoencoder.targets import loss_after_seconds, loss_at
from experiments.networks import autoencoder
from experiments.optimisers import GaussNewton
from experiments.runs import Evaluation, Run


def finished(*evaluations: tuple[int, float, float, float | None]) -> Run:
    parts = [Evaluation(*values) for values in evaluations]
    return Run("KFRA", "defaults", losses=[1.0], evaluations=parts)


def test_losses_are_judged_by_their_targets() -> None:
    run = finished((0, 0.0, 500.0, None), (100, 10.0, 66.0, None), (200, 20.0, 60.0, None))
    assert list(judgements(run, "tanh")) == [
        "KFRA (defaults) reaches 66 after 100 updates: 66.00",
        "KFRA (defaults) MISSES 59 after 200 updates: 60.00",
    ]
    assert list(judgements(run, "sigmoid")) == []


def test_the_lower_of_the_parameters_and_their_average_counts() -> None:
    run = finished((100, 1.0, 70.0, 65.0), (200, 2.0, 60.0, 64.0))
    assert (loss_at(run, 100), loss_at(run, 200)) == (65.0, 60.0)
    assert math.isnan(loss_at(run, 50))


def test_losses_at_equal_seconds_lie_between_evaluations() -> None:
    run = finished((0, 0.0, 100.0, None), (10, 10.0, 50.0, None))
    assert loss_after_seconds(run, 2.0) == pytest.approx(90.0)
    assert math.isnan(loss_after_seconds(run, 11.0))


def test_every_run_starts_from_the_same_weights_and_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rng: np.random.Generator
) -> None:
    images = rng.random((60, 9), dtype=np.float32)
    data = kfgn.Dataset("mnist", images, None, "")
    monkeypatch.setattr(kfgn, "load_data", lambda name, count: data)
    monkeypatch.setattr(
        module,
        "autoencoder",
        lambda width, activation, seed: autoencoder(width, (5, 3, 5), activation, seed=seed),
    )
    config = Config(
        updates=4, adam_rates=(1e-3, 1e-2), batch=20, backend="jax", output=tmp_path, name="tiny"
    )
    runs = run_all(config, Console(quiet=True))
    assert [run.name for run in runs] == ["KFRA", "Adam", "Adam"]
    assert len({run.evaluations[0].loss for run in runs}) == 1
    assert [run.updates for run in runs] == [4, 4, 4]
    record = json.loads((tmp_path / "tiny.json").read_text(encoding="utf-8"))
    assert record["machine"]["command"]
    assert record["targets"]["100"] == 66.0
    assert len(record["runs"]) == 3
    with Image.open(tmp_path / "tiny.png") as picture:
        assert min(picture.size) > 200


def test_evaluation_points_end_with_the_run() -> None:
    assert Config(updates=200).points == (50, 100, 200)
    assert Config(updates=250).points == (50, 100, 200, 250)


def test_options_are_read_and_refused() -> None:
    assert parse_rates("3e-4,1e-3") == (3e-4, 1e-3)
    assert parse_rates("") == ()
    assert parse_methods("kfra,kfac", "", False) == (GaussNewton(), GaussNewton("kfac"))
    assert parse_methods("kfra", "1,20", True) == (
        GaussNewton(refresh_every=1, average=True),
        GaussNewton(refresh_every=20, average=True),
    )
    for call in (
        lambda: parse_rates("fast"),
        lambda: parse_methods("newton", "", False),
        lambda: parse_methods("kfra", "often", False),
    ):
        with pytest.raises(typer.BadParameter):
            call()
