"""The parameters along a training run, kept in a file."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.appendix_f2.cases import OPTIMISERS, Array, Case, Data
from experiments.networks import Activation
from experiments.training import parameter_values, shuffled_batches


@dataclass(frozen=True)
class Point:
    """A point of a training run.

    Attributes
    ----------
    updates : int
        Number of updates before it.
    parameters : list of ndarray
        Weights and biases, alternating.
    damping : float
        lambda of the last update before it; NaN where the run has none.
    """

    updates: int
    parameters: list[Array]
    damping: float


def train_points(
    case: Case,
    activation: Activation,
    run: str,
    data: Data,
    on_update: Callable[[int], None] = lambda _: None,
) -> list[Point]:
    """Train, and return the points that the case names for this run."""
    wanted, network = case.points[run], case.network(activation, "float32")
    points = [Point(0, parameter_values(network), np.nan)] if 0 in wanted else []
    step = OPTIMISERS[run].compile(network, seed=case.seed)
    batches = shuffled_batches(data, case.train_batch, case.seed)
    for number in range(1, max(wanted) + 1):
        step(*next(batches))
        if number in wanted:
            damping = step.statistics().get("damping", np.nan)
            points.append(Point(number, parameter_values(network), damping))
        on_update(number)
    return points


def write_points(points: list[Point], path: Path) -> None:
    """Write the points; the file is either absent or complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{os.getpid()}-{path.name}")
    arrays = {
        f"{point.updates}-{number:03d}": value
        for point in points
        for number, value in enumerate(point.parameters)
    }
    updates = np.array([point.updates for point in points])
    dampings = np.array([point.damping for point in points])
    np.savez(draft, updates=updates, dampings=dampings, **arrays)  # type: ignore[arg-type]
    draft.replace(path)


def read_points(path: Path) -> list[Point]:
    """Read what :func:`write_points` wrote."""
    with np.load(path) as kept:
        names = sorted(kept.files)
        return [
            Point(
                int(updates),
                [kept[name] for name in names if name.startswith(f"{updates}-")],
                float(damping),
            )
            for updates, damping in zip(kept["updates"], kept["dampings"], strict=True)
        ]
