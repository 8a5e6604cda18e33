"""A study: many runs of the program ``kfgn``, each a folder that an interrupted study finds again.

A run is found by its spec. One that is complete is not repeated, one that was interrupted is
resumed from its last checkpoint.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import kfgn_graph as kfgn
from experiments.optimisers import FirstOrder, Optimiser

ROOT = Path(__file__).resolve().parents[1]
EVALUATIONS = 5
CHECKPOINTS = 10
OnUpdate = Callable[[int, float, float], None]


@dataclass(frozen=True)
class Task:
    """One run of a study.

    Attributes
    ----------
    problem : str
        Name of the problem.
    setting : str
        Name of the method and its settings, the same for every seed.
    optimiser : Optimiser
        The method.
    seed : int
        Seed of weights, batches and draws.
    spec : GraphSpec
        The run, as ``kfgn train`` takes it.
    """

    problem: str
    setting: str
    optimiser: Optimiser
    seed: int
    spec: kfgn.GraphSpec

    @property
    def updates(self) -> int:
        """Number of updates of the run."""
        return self.spec.budget.updates or 0

    @property
    def first_order(self) -> bool:
        """Whether the method uses gradients only."""
        return isinstance(self.optimiser, FirstOrder)


def task(
    problem: str,
    setting: str,
    optimiser: Optimiser,
    seed: int,
    updates: int,
    tables: dict[str, Any],
) -> Task:
    """Return a run of ``updates`` updates; ``tables`` are those of its spec for network and data.

    The training set is evaluated at the start and at every fifth of the run.
    """
    spec = kfgn.GraphSpec.model_validate(
        {
            **tables,
            **optimiser.spec(),
            "name": f"{problem}-{setting}-seed{seed}",
            "seed": seed,
            "budget": {"updates": updates},
            "record": {
                "evaluate_every": math.ceil(updates / EVALUATIONS),
                "checkpoint_every": math.ceil(updates / CHECKPOINTS),
                "keep": 1,
            },
        }
    )
    return Task(problem, setting, optimiser, seed, spec)


def find_run(wanted: Task, folder: Path) -> kfgn.RunRecord | None:
    """Return the newest run of the folder that has the task's spec, or None."""
    paths = sorted(
        (path for path in folder.glob(f"{wanted.spec.name}-*") if path.name[-1].isdigit()),
        key=lambda path: int(path.name.rpartition("-")[2]),
        reverse=True,
    )
    for path in paths:
        record = kfgn.read_run(path)
        if record.spec == wanted.spec:
            return record
    return None


def is_complete(record: kfgn.RunRecord) -> bool:
    """Return whether a run used up its budget, or ended since its loss was not finite."""
    losses = record.updates.get("loss", ())
    if len(losses) == 0:
        return False
    return len(losses) >= (record.spec.budget.updates or 0) or not math.isfinite(losses[-1])


def complete_run(wanted: Task, folder: Path) -> kfgn.RunRecord | None:
    """Return the complete run of a task, or None."""
    record = find_run(wanted, folder)
    return record if record is not None and is_complete(record) else None


def run_missing(wanted: Sequence[Task], folder: Path, console: Console) -> None:
    """Train every task without a complete run. Checkpoints of complete runs are deleted.

    Raises
    ------
    DataNotFound, DataCorrupt
        The data of a task cannot be had.
    KeyboardInterrupt
        After Ctrl-C; the run under way has a checkpoint.
    """
    missing = [each for each in wanted if complete_run(each, folder) is None]
    console.print(f"{len(wanted) - len(missing)} runs are complete, {len(missing)} are missing.")
    clock = Clock()
    for number, each in enumerate(missing, 1):
        title = f"[{number}/{len(missing)}] {each.spec.name}"
        with _bar(title, each, missing[number:], clock, console) as on_update:
            record = _train(each, folder, on_update)
        for _, path in record.checkpoints:
            path.unlink()
        loss = record.evaluations[-1]["loss"]
        console.print(
            f"{title}: loss {'not finite' if loss is None else f'{loss:.6g}'}, "
            f"{clock.told(missing[number:])} left",
            highlight=False,
            markup=False,
        )


def _train(wanted: Task, folder: Path, on_update: OnUpdate) -> kfgn.RunRecord:
    found = find_run(wanted, folder)
    if found is None:
        return kfgn.train_run(wanted.spec, folder, folder=ROOT, on_update=on_update)
    return kfgn.resume_run(found.path, trust=True, on_update=on_update)


class Clock:
    """The time that the remaining runs take, from the updates so far.

    First-order and second-order updates are timed apart; what is not known yet counts as what is.
    """

    def __init__(self) -> None:
        self._spent = {True: [0, 0.0], False: [0, 0.0]}

    def add(self, first_order: bool, seconds: float) -> None:
        """Count an update that took so many seconds, its share of the evaluations included."""
        self._spent[first_order][0] += 1
        self._spent[first_order][1] += seconds

    def seconds(self, wanted: Sequence[Task]) -> float | None:
        """Return the estimated seconds of tasks, or None before the first update."""
        known = {kind: spent / count for kind, (count, spent) in self._spent.items() if count}
        if not known:
            return None
        other = max(known.values())
        return sum(each.updates * known.get(each.first_order, other) for each in wanted)

    def told(self, wanted: Sequence[Task]) -> str:
        """Return that time in words."""
        found = self.seconds(wanted)
        return "an unknown time" if found is None else f"about {found / 60:.0f} min"


@contextmanager
def _bar(
    title: str, each: Task, later: Sequence[Task], clock: Clock, console: Console
) -> Iterator[OnUpdate]:
    """Show a run's progress, and give the function to call after each update."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}  {task.fields[told]}"),
        TimeRemainingColumn(),
    )
    began = time.perf_counter()
    first = True
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        shown = progress.add_task(title, total=each.updates, told="compiling")

        def on_update(update: int, seconds: float, loss: float) -> None:
            nonlocal began, first
            now = time.perf_counter()
            if not first:  # the first one's time includes compilation
                clock.add(each.first_order, now - began)
            began, first = now, False
            told = f"loss {loss:.5g}; then {clock.told(later)}"
            progress.update(shown, completed=update, told=told)

        yield on_update
