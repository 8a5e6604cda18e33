"""Evaluation of a task on its full training set, and snapshots for the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.sharedvalue import SharedVariable

from kfgn_graph.program.rules import backend_mode
from kfgn_graph.program.steps import State, Step, own_shape_checks
from kfgn_graph.program.storage import write_safely
from kfgn_graph.program.task import Task

CHUNK = 1000
SHOWN = 10
FACTORS = "factors/"


class EvaluationStopped(Exception):
    """An evaluation that was stopped on request, without a result."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes
    ----------
    loss : float
        Mean loss over the training set.
    averaged_loss : float or None
        Mean loss at the averaged iterates; None where no average is kept.
    accuracy : float or None
        Share of examples that a classifier labels correctly.
    predictions : ndarray or None, shape (10, K)
        Predictions for the first examples, at most 10; None for the user's own graphs.
    confusion : ndarray of int or None, shape (C, C)
        Confusion matrix of a classifier: numbers of examples by true class (row) and predicted
        class (column).
    """

    loss: float
    averaged_loss: float | None = None
    accuracy: float | None = None
    predictions: np.ndarray | None = None
    confusion: np.ndarray | None = None

    def line(self, update: int, seconds: float) -> dict[str, Any]:
        """Return the evaluation as a line of metrics."""
        return {
            "kind": "evaluation",
            "update": update,
            "seconds": seconds,
            "loss": self.loss,
            "averaged_loss": self.averaged_loss,
            "accuracy": self.accuracy,
        }


class Evaluator:
    """The compiled evaluation of a task.

    For a network that the program builds, the loss is the mean over all examples. The loss of a
    user's graph may be a sum over the batch. It is therefore averaged over batches of the same
    size as in training, and examples that do not fill a batch are left out.

    Parameters
    ----------
    task : Task
        The task, evaluated at the current values of its parameters.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        built = task.prediction is not None
        outputs = [task.loss, task.prediction] if built else [task.loss]
        with own_shape_checks():
            self._function = pytensor.function(
                list(task.inputs),
                outputs,
                mode=backend_mode(task.spec.backend),
                on_unused_input="ignore",
                name="kfgn_evaluation",
            )
        count, batch = len(task.arrays[0]), task.spec.batch
        self._chunk = min(count, max(batch, CHUNK)) if built else batch
        self._count = count if built else count - count % batch

    def __call__(self, step: Step, stopped: Callable[[], bool] = _never) -> Evaluation:
        """Evaluate at the parameters, and at the averaged iterates where an average is kept.

        Parameters
        ----------
        step : Step
            The step, for its averaged iterates.
        stopped : callable
            Returns whether to stop; it is called before each chunk of examples.

        Raises
        ------
        EvaluationStopped
            ``stopped`` returned true. The parameters are unchanged.
        """
        found = self._evaluate(stopped)
        averaged = step.averaged()
        if averaged is None:
            return found
        with _values(self._task.parameters, averaged):
            loss = self._evaluate(stopped).loss
        return Evaluation(found.loss, loss, found.accuracy, found.predictions, found.confusion)

    def _evaluate(self, stopped: Callable[[], bool]) -> Evaluation:
        total, predictions, confusion = 0.0, None, self._no_confusion()
        for start in range(0, self._count, self._chunk):
            if stopped():
                raise EvaluationStopped
            stop = min(start + self._chunk, self._count)
            part = [array[start:stop] for array in self._task.arrays]
            with own_shape_checks():
                loss, *rest = self._function(*part)
            total += float(loss) * (stop - start)
            if rest and predictions is None:
                predictions = np.array(rest[0][:SHOWN], np.float32)
            if confusion is not None:
                np.add.at(confusion, (part[1], np.asarray(rest[0]).argmax(axis=1)), 1)
        accuracy = None if confusion is None else float(confusion.trace() / confusion.sum())
        return Evaluation(total / self._count, None, accuracy, predictions, confusion)

    def _no_confusion(self) -> np.ndarray | None:
        if self._task.spec.loss != "softmax":
            return None
        classes = int(self._task.arrays[1].max()) + 1
        return np.zeros((classes, classes), np.int64)


def write_snapshot(path: Path, task: Task, step: Step, found: Evaluation) -> None:
    """Write a snapshot for the report: spectra of the factors, predictions, confusion matrix.

    Raises
    ------
    CheckpointError
        The file cannot be written.
    """
    arrays = {f"spectrum/{name}": values for name, values in _spectra(step)}
    if found.predictions is not None:
        arrays["examples"] = task.arrays[0][:SHOWN].astype(np.float32)
        arrays["predictions"] = found.predictions
    if found.confusion is not None:
        arrays["confusion"] = found.confusion
    content = BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_safely(path, content.getvalue())


def _spectra(step: Step) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the eigenvalues of each factor in descending order; nothing before the first update.

    Factors that are zero or not finite are left out.
    """
    if step.update is None:
        return
    for name, value in step.state().items():
        if name.startswith(FACTORS) and value.any() and np.isfinite(value).all():
            eigenvalues = np.linalg.eigvalsh(value.astype(np.float64))
            yield name.removeprefix(FACTORS), eigenvalues[::-1]


@contextmanager
def _values(
    variables: tuple[SharedVariable, ...], named: State | Mapping[str, Any]
) -> Iterator[None]:
    """Set parameters to other values, in the same order, while the block runs."""
    kept = [v.get_value(borrow=True) for v in variables]
    for variable, value in zip(variables, named.values(), strict=True):
        variable.set_value(value, borrow=True)
    try:
        yield
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.set_value(value, borrow=True)
