"""Writing of metrics, snapshots and checkpoints during training."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kfgn_graph.errors import StalledTrainingWarning
from kfgn_graph.program.checkpoints import Checkpoint, write_checkpoint
from kfgn_graph.program.evaluation import EvaluationStopped, Evaluator, write_snapshot
from kfgn_graph.program.metrics import MetricsFile, update_line
from kfgn_graph.program.runs import SNAPSHOTS
from kfgn_graph.program.session import Session
from kfgn_graph.program.storage import file_of_update
from kfgn_graph.program.tensorboard import EventFile
from kfgn_graph.program.watching import Guarded, Interruptions, Watcher


@dataclass(frozen=True)
class Recorder:
    """A writer of the records of a session: lines of metrics, snapshots and checkpoints."""

    session: Session
    evaluator: Evaluator
    metrics: MetricsFile
    events: EventFile | None
    watch: Guarded
    stop: Interruptions

    def update(self, loss: float) -> None:
        """Write the metrics line of the update just done, and report it to the watcher.

        Parameters
        ----------
        loss : float
            Loss of the batch before the update.
        """
        session = self.session
        told = session.step.statistics()
        if told:
            failed = told["skipped"] or told["rejected"]
            session.untaken = session.untaken + 1 if failed else 0
            told["untaken"] = session.untaken
        line = update_line(session.update, session.seconds, loss, told)
        self._add(line)
        self.watch.updated(session.update, session.seconds, loss, told.get("damping"))

    def evaluate(self) -> bool:
        """Evaluate on the training set; write a metrics line and a snapshot.

        Returns
        -------
        bool
            Whether the evaluation was completed: a second signal stops it.
        """
        session = self.session
        try:
            found = self.evaluator(session.step, lambda: self.stop.hurried)
        except EvaluationStopped:
            return False
        self._add(found.line(session.update, session.seconds))
        where = file_of_update(session.path / SNAPSHOTS, session.update, ".npz")
        write_snapshot(where, session.task, session.step, found)
        self.watch.evaluated(session.update, found)
        return True

    def save(self) -> None:
        """Write a checkpoint, after flushing all earlier metrics to the disk."""
        session = self.session
        self.metrics.synchronise()
        header = {
            "spec": session.header["spec"],
            "versions": session.header["machine"]["versions"],
            "processor": session.header["machine"]["processor"],
            "seed": session.task.spec.seed,
            "data_sha256": session.header["data_sha256"],
            "order": session.order.state(),
            "counters": {
                "update": session.update,
                "seconds": session.seconds,
                "lost": session.lost,
                "untaken": session.untaken,
            },
            "metrics": self.metrics.record(),
        }
        keep = session.task.spec.record.keep
        write_checkpoint(session.path, Checkpoint(header, session.step.state()), keep)

    def _add(self, line: dict[str, Any]) -> None:
        self.metrics.add(line)
        if self.events is not None:
            self.events.add(line)


@contextmanager
def notes_for_warnings(session: Session, watch: Watcher) -> Iterator[None]:
    """Report the update's warning about stalled training to the watcher, as a note."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", StalledTrainingWarning)
        show = warnings.showwarning

        def note(text: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, StalledTrainingWarning):
                watch.noted(f"update {session.update + 1:,}: {text}")
            else:
                show(text, category, *where)

        warnings.showwarning = note  # type: ignore[assignment]
        yield
