"""Training of a spec into a run's folder, from the start or from a checkpoint."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.building import build, compile_step
from kfgn_graph.program.checkpoints import CHECKPOINTS, Checkpoint
from kfgn_graph.program.evaluation import Evaluator
from kfgn_graph.program.machine import machine_record
from kfgn_graph.program.metrics import MetricsFile
from kfgn_graph.program.metrics_lines import NOTHING
from kfgn_graph.program.order import DataOrder
from kfgn_graph.program.recording import Recorder, notes_for_warnings
from kfgn_graph.program.resuming import (
    LOCK,
    Place,
    changes,
    check_links,
    check_trust,
    find_place,
    set_aside,
)
from kfgn_graph.program.rounding import rounded_as_written
from kfgn_graph.program.runs import (
    METRICS,
    SNAPSHOTS,
    RunRecord,
    create_run,
    read_run,
    removed_if_unused,
    write_header,
)
from kfgn_graph.program.scaling import write_scalings
from kfgn_graph.program.session import Reason, Session
from kfgn_graph.program.spec.models import BudgetSpec, GraphSpec
from kfgn_graph.program.steps import Step
from kfgn_graph.program.storage import digest, locked, written
from kfgn_graph.program.task import Task
from kfgn_graph.program.tensorboard import EventFile
from kfgn_graph.program.threads import single_threaded_lapack
from kfgn_graph.program.warming import compile_first
from kfgn_graph.program.watching import Guarded, Interruptions, Watcher, interruptions


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
        ``'interrupted'``, ``'diverged'``, or ``'output'`` if progress could not be reported.
    problem : str
        For ``'output'``: the error.
    """

    path: Path
    update: int
    seconds: float
    reason: Reason
    problem: str = ""


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
    new = not parent.exists()
    path = create_run(parent, task, step, folder)
    with removed_if_unused(path, new), locked(path / LOCK):
        write_scalings(path, task.scalings)
        return _train(_session(read_run(path), task, step), watch)


@rounded_as_written()
def go_on(
    path: Path,
    watch: Watcher,
    checkpoint: str | None = None,
    budget: BudgetSpec | None = None,
    trust: bool = False,
) -> Outcome:
    """Continue a run from its newest checkpoint.

    With the same backend and versions, the result is the same as without the interruption.
    Nothing is written before all files of the run are read and checked.

    Parameters
    ----------
    path : Path
        The run's folder.
    watch : Watcher
        Receiver of progress reports.
    checkpoint : str, optional
        File name of an older checkpoint. All that is newer is moved to ``set-aside``.
    budget : BudgetSpec, optional
        A new budget, which replaces the budget in the run's header.
    trust : bool
        Whether the function that the spec names, if it names one, may be called.

    Raises
    ------
    CheckpointError
        The folder is not a run, another process trains it, its data have changed, one of its
        files is damaged or a symbolic link, the checkpoint belongs to another spec, or the spec
        names a function and ``trust`` is false.
    """
    check_trust(read_run(path), trust)
    check_links(path)
    with locked(path / LOCK):
        record = read_run(path)
        place = find_place(record, checkpoint)
        again = _renewed(record, budget)
        task = build(again.spec, Path(again.header["folder"]))
        if digest(task.arrays) != again.header["data_sha256"]:
            raise CheckpointError(
                f"the data from {task.source} are not the data that {path} was trained on: "
                "restore them, or start a new run."
            )
        session = _session(again, task, compile_step(task))
        found = None if place is None else place.checkpoint
        if found is not None:
            _restore(session, found)
        _begin_writing(record, session, place if checkpoint else None, watch)
        changed = changes(record, found, session.header["machine"])
        if changed:
            told = ", ".join(f"{name} {change}" for name, change in changed.items())
            watch.noted(f"versions or the processor have changed, so results may differ: {told}")
        return _train(session, watch)


def _renewed(record: RunRecord, budget: BudgetSpec | None) -> RunRecord:
    """Return a run with the machine of this session, and with another budget if one is given."""
    header = record.header | {"machine": machine_record()}
    if budget is None:
        return replace(record, header=header)
    header["spec"] = header["spec"] | {"budget": _dumped(budget)}
    return replace(record, header=header, spec=record.spec.model_copy(update={"budget": budget}))


def _dumped(part: BudgetSpec) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_defaults=True)


def _session(record: RunRecord, task: Task, step: Step) -> Session:
    order = DataOrder(task.arrays, task.spec.batch, task.spec.seed)
    return Session(record.path, task, step, order, record.header)


def _restore(session: Session, found: Checkpoint) -> None:
    """Restore a session from a checkpoint of the run."""
    header = found.header
    session.order.load_state(header["order"])
    session.step.load_state(found.state)
    session.update = header["counters"]["update"]
    session.seconds = header["counters"]["seconds"]
    session.lost = header["counters"]["lost"]
    session.untaken = header["counters"].get("untaken", 0)  # older checkpoints have none


def _begin_writing(
    record: RunRecord, session: Session, older: Place | None, watch: Watcher
) -> None:
    """Set newer files aside, and write the header if the budget or the machine has changed."""
    path = session.path
    with written(path):
        for name in (CHECKPOINTS, SNAPSHOTS):
            (path / name).mkdir(exist_ok=True)
    if older is not None and (folder := set_aside(record, older)) is not None:
        watch.noted(f"what is newer than update {older.update} was moved to {folder}")
    then, now = record.header["machine"], session.header["machine"]
    other = [key for key in now if key != "command" and now[key] != then.get(key)]
    if other:
        earlier = [*record.header.get("earlier", ()), {"until": session.update, "machine": then}]
        session.header["earlier"] = earlier
    if other or session.header["spec"] != record.header["spec"]:
        write_header(path, session.header)


def _train(session: Session, watch: Watcher) -> Outcome:
    spec, path = session.task.spec, session.path
    evaluator = Evaluator(session.task)
    guard = Guarded(watch)
    with ExitStack() as stack:
        stack.enter_context(single_threaded_lapack(spec.backend))
        stack.enter_context(notes_for_warnings(session, watch))
        kept = session.update or NOTHING  # a run without updates is evaluated again
        metrics = stack.enter_context(MetricsFile(path / METRICS, kept))
        events = None
        if spec.record.tensorboard:
            events = stack.enter_context(EventFile(path, session.update))
        stop = stack.enter_context(interruptions(guard))
        if session.ended() == "seconds":
            limit = f"{spec.budget.seconds:g} s"
            guard.noted(f"{path}: the budget of {limit} is met; `--seconds S` continues")
        else:
            guard.started(path, session.update, session.limit, spec.budget.seconds)
        if session.task.note is not None:
            guard.noted(session.task.note)
        compile_first(session, guard)
        recorder = Recorder(session, evaluator, metrics, events, guard, stop)
        reason = _loop(session, recorder, stop)
    return Outcome(path, session.update, session.seconds, reason, guard.problem)


def _loop(session: Session, recorder: Recorder, stop: Interruptions) -> Reason:
    every = session.task.spec.record.checkpoint_every
    reason = _begin(session, recorder)
    while reason is None:
        began = perf_counter()
        loss = session.step(*session.order.next())
        session.seconds += perf_counter() - began
        session.update += 1
        session.lost = 0 if math.isfinite(loss) else session.lost + 1
        recorder.update(loss)
        reason = session.ended()
        if (reason or session.evaluation_due) and not recorder.evaluate():
            reason = "interrupted"
        reason = reason or _stopped(recorder, stop)
        if reason or session.update % every == 0:
            recorder.save()
    return reason


def _begin(session: Session, recorder: Recorder) -> Reason | None:
    """Make up for an evaluation that was due and is not in the metrics; return a reason to end."""
    reason = session.ended()
    if recorder.metrics.evaluated < session.update and (reason or session.evaluation_due):
        if not recorder.evaluate():
            return "interrupted"
        if session.update == 0:
            recorder.save()
    return reason


def _stopped(recorder: Recorder, stop: Interruptions) -> Reason | None:
    if stop.requested:
        return "interrupted"
    return "output" if recorder.watch.problem else None
