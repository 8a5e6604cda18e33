"""The losses to be reached on MNIST, and how far a run is from them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from experiments.runs import Run

TARGETS: Mapping[str, Mapping[int, float]] = {
    "tanh": {100: 66.0, 200: 59.0, 1000: 53.0, 5000: 51.5},
    "relu": {100: 75.0, 200: 66.0, 1000: 55.0, 5000: 51.5},
}
"""Activation to updates to the training-set loss that KFRA's defaults are to reach, nats."""
POINTS = (50, 100, 200, 300, 500, 1000, 2000, 5000)
"""Updates after which the whole training set is evaluated."""


@dataclass(frozen=True)
class Comparison:
    """A run's loss beside the target, after as many updates."""

    updates: int
    loss: float
    target: float

    @property
    def reached(self) -> bool:
        """Whether the loss is at most the target."""
        return self.loss <= self.target


def loss_at(run: Run, updates: int) -> float:
    """Return a run's training-set loss after so many updates; NaN where it was not evaluated.

    Where averaged iterates were evaluated as well, theirs counts if it is lower.
    """
    for part in run.evaluations:
        if part.updates == updates:
            averaged = part.averaged_loss
            return part.loss if averaged is None else min(part.loss, averaged)
    return math.nan


def compare_with_targets(run: Run, activation: str) -> Iterator[Comparison]:
    """Yield the comparison at every target that the run came to."""
    for updates, target in TARGETS.get(activation, {}).items():
        loss = loss_at(run, updates)
        if not math.isnan(loss):
            yield Comparison(updates, loss, target)


def loss_after_seconds(run: Run, seconds: float) -> float:
    """Return the training-set loss after so many seconds of stepping.

    It is interpolated between the evaluations around that moment; NaN after the last one.
    """
    for before, after in zip(run.evaluations, run.evaluations[1:], strict=False):
        if before.seconds <= seconds <= after.seconds and after.seconds > before.seconds:
            share = (seconds - before.seconds) / (after.seconds - before.seconds)
            return before.loss + share * (after.loss - before.loss)
    return math.nan
