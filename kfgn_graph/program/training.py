"""Training of a spec into a run's folder, from the start or from a checkpoint."""

from __future__ import annotations

import math
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.building import Task, build, compile_step
from kfgn_graph.program.checkpoints import (
    CHECKPOINTS,
    Checkpoint,
    newest_checkpoint,
    read_checkpoint,
)
from kfgn_graph.program.evaluation import Evaluator
from kfgn_graph.program.metrics import MetricsFile
from kfgn_graph.program.order import DataOrder
from kfgn_graph.program.recording import Recorder
from kfgn_graph.program.rounding import rounded_as_written
from kfgn_graph.program.runs import METRICS, RunRecord, create_run, read_run, write_header
from kfgn_graph.program.scaling import write_scalings
from kfgn_graph.program.session import Reason, Session
from kfgn_graph.program.spec.models import BudgetSpec, GraphSpec
from kfgn_graph.program.steps import Step
from kfgn_graph.program.storage import digest, locked
from kfgn_graph.program.tensorboard import EventFile
from kfgn_graph.program.threads import single_threaded_lapack
from kfgn_graph.program.warming import compile_first
from kfgn_graph.program.watching import Watcher, interruptions

LOCK = ".lock"
NOTHING = -1


@dataclass(frozen=True)
class Outcome:
    """The result of training.

    Attributes
    ----------
    path : Path
        The run's folder.
    update : int
        Number of the last update.
    seconds : float
        Seconds spent on updates, without compilation, summed over all sessions.
    reason : str
        Why training ended: ``'updates'`` or ``'seconds'`` for the limit reached,
        ``'interrupted'`` or ``'diverged'``.
    """

    path: Path
    update: int
    seconds: float
    reason: Reason


@rounded_as_written()
def start(spec: GraphSpec, folder: Path, parent: Path, watch: Watcher) -> Outcome:
    """Train a spec into a new folder.

    Parameters
    ----------
    spec : GraphSpec
        The spec to train.
    folder : Path
        Base folder of relative data files and of the user's modules.
    parent : Path
        Folder in which the run's folder ``<name>-<n>`` is created.
    watch : Watcher
        Receiver of progress reports.

    Raises
    ------
    KfgnError
        The spec cannot be built or compiled, or its files cannot be written.
    """
    task = build(spec, folder)
    step = compile_step(task)
    path = create_run(parent, task, step, folder)
    write_scalings(path, task.scalings)
    with locked(path / LOCK):
        return _train(_session(read_run(path), task, step), watch)


@rounded_as_written()
def go_on(
    path: Path, watch: Watcher, checkpoint: str | None = None, budget: BudgetSpec | None = None
) -> Outcome:
    """Continue a run from its newest checkpoint.

    With the same backend and versions, the result is the same as without the interruption.

    Parameters
    ----------
    path : Path
        The run's folder.
    watch : Watcher
        Receiver of progress reports.
    checkpoint : str, optional
        File name of an older checkpoint. Later metrics are removed.
    budget : BudgetSpec, optional
        A new budget, which replaces the budget in the run's header.

    Raises
    ------
    CheckpointError
        The folder is not a run, another process trains it, its data have changed, or the
        checkpoint is damaged or belongs to another spec.
    """
    record = read_run(path)
    with locked(path / LOCK):
        if budget is not None:
            header = record.header | {"spec": record.header["spec"] | {"budget": _dumped(budget)}}
            write_header(path, header)
            record = read_run(path)
        task = build(record.spec, Path(record.header["folder"]))
        if digest(task.arrays) != record.header["data_sha256"]:
            raise CheckpointError(
                f"the data from {task.source} are not the data that {path} was trained on: "
                "restore them, or start a new run."
            )
        session = _session(record, task, compile_step(task))
        chosen = newest_checkpoint(path) if checkpoint is None else path / CHECKPOINTS / checkpoint
        if chosen is not None:
            _restore(session, chosen, read_checkpoint(chosen), watch)
        return _train(session, watch)


def _dumped(part: BudgetSpec) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_defaults=True)


def _session(record: RunRecord, task: Task, step: Step) -> Session:
    order = DataOrder(task.arrays, task.spec.batch, task.spec.seed)
    return Session(record.path, task, step, order, record.header)


def _restore(session: Session, path: Path, found: Checkpoint, watch: Watcher) -> None:
    """Restore a session from a checkpoint."""
    header, own = found.header, session.header
    if _trained(header["spec"]) != _trained(own["spec"]):
        raise CheckpointError(
            f"{path}: foreign: it is a checkpoint of another spec. Remove it, or name another "
            "one with --from."
        )
    then, now = header["versions"], own["machine"]["versions"]
    changed = [f"{k} {then.get(k)} → {v}" for k, v in now.items() if then.get(k) != v]
    if changed:
        watch.noted(f"versions have changed, so results may differ: {', '.join(changed)}")
    session.step.load_state(found.state)
    session.order.load_state(header["order"])
    session.update = header["counters"]["update"]
    session.seconds = header["counters"]["seconds"]
    session.lost = header["counters"]["lost"]


def _trained(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that affect the result of an update: all but name, budget, record."""
    return {k: v for k, v in spec.items() if k not in ("name", "budget", "record")}


def _train(session: Session, watch: Watcher) -> Outcome:
    spec, path = session.task.spec, session.path
    evaluator = Evaluator(session.task)
    with ExitStack() as stack:
        stack.enter_context(single_threaded_lapack(spec.backend))
        kept = session.update or NOTHING  # a run without updates is evaluated again
        metrics = stack.enter_context(MetricsFile(path / METRICS, kept))
        events = None
        if spec.record.tensorboard:
            events = stack.enter_context(EventFile(path, session.update))
        stop = stack.enter_context(interruptions(watch))
        watch.started(path, session.update, session.limit, spec.budget.seconds)
        compile_first(session, watch)
        recorder = Recorder(session, evaluator, metrics, events, watch)
        reason = _loop(session, recorder, stop)
    return Outcome(path, session.update, session.seconds, reason)


def _loop(session: Session, recorder: Recorder, stop: threading.Event) -> Reason:
    every = session.task.spec.record.checkpoint_every
    if session.update == 0:
        recorder.evaluate()
        recorder.save()
    reason = session.ended()
    if reason is not None:
        return reason
    while True:
        began = perf_counter()
        loss = session.step(*session.order.next())
        session.seconds += perf_counter() - began
        session.update += 1
        session.lost = 0 if math.isfinite(loss) else session.lost + 1
        recorder.update(loss)
        reason = session.ended()
        if reason or session.update % session.evaluate_every == 0:
            recorder.evaluate()
        if reason is None and stop.is_set():
            reason = "interrupted"
        if reason or session.update % every == 0:
            recorder.save()
        if reason:
            return reason
