import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.datasets import Dataset
from experiments.mnist_autoencoder import run as check
from experiments.networks import autoencoder
from experiments.training import Evaluation, Run


def finished(name: str, settings: str, loss: float) -> Run:
    return Run(name, settings, losses=[1.0], evaluations=[Evaluation(1, 0.0, loss)])


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ((50.0, 70.0, 60.0, 80.0), ("are below", "60.00", "inside")),
        ((65.0, 70.0, 60.0, 80.0), ("are NOT below", "60.00", "inside")),
        ((50.0, 60.0, 70.0, 80.0), ("are below", "rate a", "AT THE EDGE")),
    ],
)
def test_the_verdict_says_who_won_and_whether_the_grid_was_wide_enough(
    losses: tuple[float, ...], words: tuple[str, ...]
) -> None:
    kfra, *adams = losses
    runs = [finished("KFRA", "", kfra)]
    runs += [finished("Adam", f"rate {n}", loss) for n, loss in zip("abc", adams, strict=True)]
    for word in words:
        assert word in check.verdict(runs)


def test_the_check_runs_every_method_from_the_same_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rng: np.random.Generator
) -> None:
    images = rng.random((60, 9), dtype=np.float32)
    monkeypatch.setattr(check, "load_mnist", lambda count: Dataset("mnist", images, None, ""))
    monkeypatch.setattr(
        check, "autoencoder", lambda width, seed: autoencoder(width, (5, 3, 5), seed=seed)
    )
    config = check.CheckConfig(
        updates=4, rates=(1e-3, 1e-2), batch=20, backend="jax", output=tmp_path
    )
    runs = check.run_check(config, Console(quiet=True))
    assert [run.settings for run in runs[1:]] == ["rate 0.001", "rate 0.01"]
    assert len({run.evaluations[0].loss for run in runs}) == 1
    assert [run.updates for run in runs] == [4, 4, 4]
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert record["machine"]["command"]
    assert len(record["runs"]) == 3
