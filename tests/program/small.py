"""Runs of a moment: forty examples in a file, a net of a few units, and who watches it."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kfgn_graph.program.evaluation import Evaluation
from kfgn_graph.program.spec import GraphSpec, parse_spec
from kfgn_graph.program.training import Outcome, start

EXAMPLES, FEATURES, CLASSES = 40, 4, 3
SPEC = """
name = "small"
loss = "softmax"
batch = 10
backend = "{backend}"
method = {method}
[network]
hidden = [5]
[data]
file = "data.npz"
[budget]
{budget}
[record]
evaluate_every = {evaluate}
checkpoint_every = {checkpoint}
keep = {keep}
"""
ADAM = '{ name = "adam", rate = 0.01 }'
KFRA = '"kfra"'


def spec_text(
    method: str = ADAM,
    budget: str = "updates = 12",
    evaluate: int = 5,
    checkpoint: int = 4,
    keep: int = 3,
    backend: str = "jax",
) -> str:
    """Return a spec as TOML."""
    return SPEC.format(**locals())


def small_spec(**changes: str | int) -> GraphSpec:
    """Return that spec."""
    return parse_spec(spec_text(**changes), "toml")  # type: ignore[arg-type]


def write_data(folder: Path, seed: int = 0) -> None:
    """Write the examples of a spec in this folder."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
    np.savez(folder / "data.npz", x=inputs, y=rng.integers(0, CLASSES, EXAMPLES))


class Watch:
    """Hears everything, and does something at one update."""

    def __init__(self, at: int = 0, act: Callable[[], object] = lambda: None) -> None:
        self.at, self.act = at, act
        self.notes: list[str] = []
        self.updates: list[int] = []
        self.evaluated_at: list[int] = []
        self.compiled: list[float | None] = []

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        self.path, self.first, self.limit = path, update, limit

    def compiling(self, seconds: float | None) -> None:
        self.compiled = [*self.compiled, seconds]

    def updated(self, update: int, seconds: float, loss: float, damping: float | None) -> None:
        self.updates.append(update)
        if update == self.at:
            self.act()

    def evaluated(self, update: int, found: Evaluation) -> None:
        self.evaluated_at.append(update)

    def noted(self, text: str) -> None:
        self.notes.append(text)


def interrupting(at: int) -> Watch:
    """Return a watcher that presses Ctrl-C after an update."""
    return Watch(at, lambda: signal.raise_signal(signal.SIGINT))


def train(folder: Path, watch: Watch | None = None, runs: str = "runs", **changes: Any) -> Outcome:
    """Train a small run in a folder that has the data."""
    return start(small_spec(**changes), folder, folder / runs, watch or Watch())


def checkpoints(path: Path) -> list[int]:
    """Return the updates of a run's checkpoints."""
    return [int(p.stem[7:]) for p in sorted((path / "checkpoints").iterdir())]
