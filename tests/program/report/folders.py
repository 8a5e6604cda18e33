"""Runs' folders, as training writes them, of made-up figures."""

import json
from pathlib import Path
from typing import Any

import numpy as np

SPEC: dict[str, Any] = {
    "network": {"hidden": [8, 4]},
    "loss": "softmax",
    "data": {"name": "digits"},
    "batch": 256,
    "budget": {"updates": 41},
}
MACHINE: dict[str, Any] = {
    "processor": "a <b>processor</b>",
    "cpus": 2,
    "thread_settings": {},
    "system": "Linux x86_64",
    "python": "3.12.1",
    "versions": {"numpy": "2.0.0"},
    "command": "python kfgn train digits",
}


def make_run(
    path: Path,
    *,
    updates: int = 41,
    scale: float = 1.0,
    seconds: float = 0.01,
    spec: dict[str, Any] | None = None,
    header: dict[str, Any] | None = None,
    snapshots: bool = True,
) -> Path:
    """Write a run of so many updates whose loss is ``scale / update``."""
    path.mkdir(parents=True)
    content = {
        "format": "kfgn-run-1",
        "spec": {**SPEC, "name": "sample", **(spec or {})},
        "folder": ".",
        "machine": MACHINE,
        "created": "2026-11-24T12:00:00+00:00",
        "floor": 0.0,
        "data": "digits.csv.gz",
        "data_sha256": "0" * 64,
        "parameters": 1234,
        "layers": [{"name": "W1", "inputs": 64, "outputs": 8}],
        **(header or {}),
    }
    (path / "run.json").write_text(json.dumps(content))
    lines = [_evaluation(0, 0.0, scale)]
    for update in range(1, updates + 1):
        lines.append(_update(update, 1.0 + seconds * update, scale / update))
        if update % 20 == 0:
            lines.append(_evaluation(update, 1.0 + seconds * update, scale / update))
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if snapshots:
        _write_snapshots(path / "snapshots")
    return path


def _update(update: int, seconds: float, loss: float) -> dict[str, Any]:
    return {
        "kind": "update",
        "update": update,
        "seconds": seconds,
        "loss": None if update == 3 else loss,
        "damping": 0.1 / update,
        "gamma": 0.3,
        "reduction_ratio": update / 100 if update % 5 == 0 else None,
        "step_scale": 0.5,
        "momentum": 0.25,
        "gradient_norm": 2.0,
        "update_norm": 1.5,
        "skipped": update == 3,
    }


def _evaluation(update: int, seconds: float, loss: float) -> dict[str, Any]:
    return {
        "kind": "evaluation",
        "update": update,
        "seconds": seconds,
        "loss": loss,
        "averaged_loss": None,
        "accuracy": 0.5,
    }


def _write_snapshots(folder: Path) -> None:
    folder.mkdir()
    generator = np.random.default_rng(0)
    for update in (0, 20, 40):
        arrays = {
            "examples": generator.random((10, 64), np.float32),
            "predictions": generator.random((10, 10), np.float32),
            "confusion": np.eye(10, dtype=np.int64) * 9 + 1,
        }
        if update:
            arrays["spectrum/W1/Q"] = np.linspace(2.0, 0.0, 65)
            arrays["spectrum/W1/G"] = np.linspace(1.0, 0.1, 8)
        np.savez(folder / f"update-{update:08d}.npz", **arrays)
