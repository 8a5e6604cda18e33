"""The points of the study, each a file that an interrupted study finds again."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.appendix_f2.cases import Case, Data
from experiments.appendix_f2.measure import Record, measure_point
from experiments.appendix_f2.points import Point, read_points, train_points, write_points
from experiments.appendix_f2.systems import Systems
from experiments.networks import Activation
from experiments.records import write_json
from experiments.training import compile_evaluation, set_parameter_values


@dataclass(frozen=True)
class Task:
    """One point of a training run.

    Attributes
    ----------
    case : Case
        The network.
    activation : str
        Of its hidden layers.
    run : str
        The method that trains it.
    updates : int
        Number of updates before the point.
    """

    case: Case
    activation: Activation
    run: str
    updates: int

    def path(self, folder: Path) -> Path:
        """Return the file of its results."""
        name = f"{self.activation}-{self.run}-{self.updates}.json"
        return folder / f"{self.case.name}-{self.case.digest}" / name

    def run_path(self, folder: Path) -> Path:
        """Return the file of the parameters along its training run."""
        return self.path(folder).with_name(f"{self.activation}-{self.run}.npz")

    @property
    def work(self) -> int:
        """Examples over all batches and dampings, times parameters: about its time."""
        examples = sum(size * count for size, count in self.case.batches.items())
        return examples * len(self.case.dampings) * self.weights

    @property
    def weights(self) -> int:
        """Number of weights of the network."""
        sizes = self.case.sizes
        return sum(a * b for a, b in pairwise(sizes))


def tasks(cases: Sequence[Case]) -> Iterator[Task]:
    """Yield every point of the cases; those of one compiled network follow each other."""
    for case in cases:
        for activation in case.activations:
            for run, points in case.points.items():
                for updates in points:
                    yield Task(case, activation, run, updates)


def results(cases: Sequence[Case], folder: Path) -> Iterator[tuple[Task, Record]]:
    """Yield the points that have been measured."""
    for task in tasks(cases):
        path = task.path(folder)
        if path.is_file():
            yield task, json.loads(path.read_text(encoding="utf-8"))


def training_loss(task: Task, folder: Path, data: Data) -> float:
    """Return the loss of a measured point over all examples that the run trains on."""
    network = task.case.network(task.activation, "float32")
    points = read_points(task.run_path(folder))
    point = next(point for point in points if point.updates == task.updates)
    set_parameter_values(network, point.parameters)
    return compile_evaluation(network, data, task.case.train_batch)()


def run_missing(cases: Sequence[Case], folder: Path, console: Console) -> None:
    """Measure every point that has no file yet, with the remaining time.

    Raises
    ------
    DataNotFound
        The data of a case cannot be had.
    """
    missing = [task for task in tasks(cases) if not task.path(folder).is_file()]
    done = len(list(tasks(cases))) - len(missing)
    console.print(f"{done} points are measured, {len(missing)} are missing.", highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("Starting", total=sum(task.work for task in missing))
        worker = Worker(folder, lambda text: progress.update(bar, description=text))
        for task in missing:
            worker.measure(task, lambda done: progress.advance(bar, done))


class Worker:
    """Measures points, and keeps what the points of one network share.

    Parameters
    ----------
    folder : Path
        Of the results.
    say : callable
        Shows the work under way.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self._folder, self._say = folder, say
        self._data: tuple[Case, Data] | None = None
        self._systems: tuple[Case, str, Systems] | None = None

    def measure(self, task: Task, on_work: Callable[[int], None] = lambda _: None) -> Path:
        """Measure a point and write its file."""
        name = f"{task.case.name}, {task.activation}, {task.run}"
        data = self._load(task.case)
        points = self._points(task, data, lambda k: self._say(f"{name}: training, update {k}"))
        point = next(point for point in points if point.updates == task.updates)
        self._say(f"{name}, {task.updates} updates")
        systems = self._compiled(task)
        found = measure_point(systems, data, point, lambda size: on_work(size * task.weights))
        return write_json(task.path(self._folder), found)

    def _load(self, case: Case) -> Data:
        if self._data is None or self._data[0] != case:
            self._data = (case, case.load())
        return self._data[1]

    def _compiled(self, task: Task) -> Systems:
        kept = self._systems
        if kept is None or kept[:2] != (task.case, task.activation):
            kept = (task.case, task.activation, Systems(task.case, task.activation))
            self._systems = kept
        return kept[2]

    def _points(self, task: Task, data: Data, on_update: Callable[[int], None]) -> list[Point]:
        path = task.run_path(self._folder)
        if not path.is_file():
            found = train_points(task.case, task.activation, task.run, data, on_update)
            write_points(found, path)
        return read_points(path)
