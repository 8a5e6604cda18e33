"""Where and how a run goes on: its files are checked before any of them is written.

A run's folder may be damaged, or come from somebody else. Nothing in it is used before it is
checked, and nothing is written before all of it is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfgn_graph.errors import CheckpointError
from kfgn_graph.program.checkpoints import CHECKPOINTS, Checkpoint, read_checkpoint
from kfgn_graph.program.headers import CheckpointHeader, check_header
from kfgn_graph.program.metrics import read_metrics
from kfgn_graph.program.metrics_lines import NOTHING, leading_lines
from kfgn_graph.program.runs import HEADER, METRICS, SNAPSHOTS, RunRecord
from kfgn_graph.program.storage import read_bytes, refuse_links, write_safely, written
from kfgn_graph.program.tensorboard import FOLDER as EVENTS

LOCK = ".lock"
SET_ASIDE = "set-aside"
_COMPARED = ("processor", "python", "system")


@dataclass(frozen=True)
class Place:
    """The place from which a run goes on.

    Attributes
    ----------
    path : Path
        The file of the checkpoint.
    checkpoint : Checkpoint
        Its content.
    rest : bytes
        The metrics that were written after it.
    """

    path: Path
    checkpoint: Checkpoint
    rest: bytes

    @property
    def update(self) -> int:
        """The update of the checkpoint."""
        return int(self.checkpoint.header["counters"]["update"])


def check_trust(record: RunRecord, trust: bool) -> None:
    """Check that the code that a run's spec names may be executed.

    Raises
    ------
    CheckpointError
        The spec names a function, and ``trust`` is false.
    """
    if record.spec.graph is not None and not trust:
        raise CheckpointError(
            f"{record.path}: {code_of(record)} If you trust that code, add --trust."
        )


def code_of(record: RunRecord) -> str:
    """Return a sentence that says which code a run executes."""
    return (
        f"its spec names the function {record.spec.graph}. To resume the run is to execute the "
        f"Python code of that module, which is searched for in {record.header['folder']}."
    )


def check_links(run: Path) -> None:
    """Check that no file or folder that training writes in a run's folder is a symbolic link.

    Raises
    ------
    CheckpointError
        One is.
    """
    folders = [run / name for name in (CHECKPOINTS, SNAPSHOTS, EVENTS, SET_ASIDE)]
    refuse_links([*folders, *(run / name for name in (HEADER, METRICS, LOCK))])
    for folder in folders:
        if folder.is_dir():
            refuse_links(sorted(folder.iterdir()))


def find_place(record: RunRecord, name: str | None) -> Place | None:
    """Return the place from which a run goes on; None if it has no updates yet.

    Parameters
    ----------
    record : RunRecord
        The run.
    name : str, optional
        The file name of a checkpoint; by default the newest.

    Raises
    ------
    CheckpointError
        The checkpoint is missing, damaged or of another run, or the metrics up to it are damaged
        or incomplete. Without ``name``, the later metrics must be undamaged as well.
    """
    found = record.checkpoints
    if name is not None:
        found = [(update, path) for update, path in found if path.name == name]
        if not found:
            folder = record.path / CHECKPOINTS
            there = ", ".join(path.name for _, path in record.checkpoints) or "none"
            raise CheckpointError(
                f"{folder}: there is no such checkpoint, {name}. There are: {there}."
            )
    if not found:
        _check_unused(record)
        return None
    path = found[-1][1]
    checkpoint = read_checkpoint(path)
    _check_own(record, path, checkpoint)
    try:
        return Place(path, checkpoint, _later_metrics(record, checkpoint, whole=name is None))
    except CheckpointError as error:
        raise CheckpointError(f"{error} {_offer(record, path)}") from error


def _check_unused(record: RunRecord) -> None:
    """Check that a run without checkpoints has no updates, which would be lost."""
    path = record.path / METRICS
    done = path.exists() and len(read_metrics(path)[0].get("update", ()))
    if done or any(update for update, _ in record.snapshots):
        raise CheckpointError(
            f"{record.path} has metrics of updates but no checkpoint in {CHECKPOINTS}. Restore "
            "the checkpoints, or start a new run; nothing was changed."
        )


def _check_own(record: RunRecord, path: Path, checkpoint: Checkpoint) -> None:
    """Check the header of a checkpoint, and that it belongs to the run and to its file's name."""
    header = checkpoint.header
    check_header(CheckpointHeader, header, str(path))
    if _trained(header["spec"]) != _trained(record.header["spec"]):
        raise CheckpointError(
            f"{path}: foreign: it is a checkpoint of another spec. Remove it, or name another "
            "one with --from."
        )
    if header["data_sha256"] != record.header["data_sha256"]:
        raise CheckpointError(
            f"{path}: foreign: it is a checkpoint of training on other data. Remove it, or name "
            "another one with --from."
        )
    update = header["counters"]["update"]
    if (update, path) not in record.checkpoints:
        raise CheckpointError(
            f"{path}: foreign: it is a checkpoint of update {update}, renamed. Remove it, or name "
            "another one with --from."
        )


def _trained(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that affect the result of an update: all but name, budget, record."""
    return {k: v for k, v in spec.items() if k not in ("name", "budget", "record")}


def _later_metrics(record: RunRecord, checkpoint: Checkpoint, whole: bool) -> bytes:
    """Return the metrics after a checkpoint; check those before it."""
    path = record.path / METRICS
    refuse_links([path])
    update = checkpoint.header["counters"]["update"]
    # Without updates the evaluation is repeated, so that no line is kept.
    found = leading_lines(path, update or NOTHING, whole)
    told = checkpoint.header.get("metrics")
    if update and told is not None:
        content = read_bytes(path, found.length + len(found.rest))[: told["bytes"]]
        if told["bytes"] > found.length or told["sha256"] != hashlib.sha256(content).hexdigest():
            raise CheckpointError(
                f"{path}: altered: its lines up to update {update} do not match the SHA-256 in "
                "the checkpoint."
            )
    return found.rest


def _offer(record: RunRecord, path: Path) -> str:
    """Return a sentence that names the newest checkpoint up to which the metrics are intact."""
    for _, candidate in reversed([one for one in record.checkpoints if one[1].name <= path.name]):
        try:
            checkpoint = read_checkpoint(candidate)
            _check_own(record, candidate, checkpoint)
            _later_metrics(record, checkpoint, whole=False)
        except CheckpointError:
            continue
        return (
            f"Restore the file, or train again from before the damage: kfgn resume {record.path} "
            f"--from {candidate.name}."
        )
    return "Restore the file, or start a new run; no checkpoint is older than the damage."


def set_aside(record: RunRecord, place: Place) -> Path | None:
    """Move all that is newer than a checkpoint to a folder of the run, so that nothing is lost.

    The metrics are copied first, and the newest checkpoint is moved first. A process that is
    killed in between leaves a run that goes on from the newest checkpoint that was not moved.

    Returns
    -------
    Path or None
        The folder; None if nothing is newer.

    Raises
    ------
    CheckpointError
        A file cannot be moved.
    """
    newer = [
        path
        for found in (record.checkpoints, record.snapshots)
        for update, path in reversed(found)
        if update > place.update
    ]
    if not newer and not place.rest:
        return None
    parent = record.path / SET_ASIDE
    refuse_links([parent])
    with written(parent):
        parent.mkdir(exist_ok=True)
        numbers = [int(path.name) for path in parent.iterdir() if path.name.isdecimal()]
        folder = parent / str(1 + max(numbers, default=0))
        folder.mkdir()
        for name in (CHECKPOINTS, SNAPSHOTS):
            (folder / name).mkdir()
    write_safely(folder / METRICS, place.rest)
    with written(folder):
        for path in newer:
            path.rename(folder / path.parent.name / path.name)
    return folder


def changes(
    record: RunRecord, checkpoint: Checkpoint | None, now: Mapping[str, Any]
) -> dict[str, str]:
    """Return what differs between this session and the last: ``"old → new"`` by name.

    Parameters
    ----------
    record : RunRecord
        The run, as the last session left it.
    checkpoint : Checkpoint or None
        The checkpoint from which the run goes on.
    now : mapping
        The machine and the versions of this session, from :func:`machine_record`.
    """
    machines = [record.header["machine"]]
    if checkpoint is not None:
        machines.insert(0, checkpoint.header)
    return {
        name: f"{old or 'none'} → {new or 'none'}"
        for machine in reversed(machines)
        for name, old, new in _pairs(machine, now)
        if old != new
    }


def _pairs(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the names, the old and the new values of what a session may change."""
    old, new = then.get("versions", {}), now["versions"]
    for name in dict.fromkeys([*old, *new]):
        yield name, old.get(name), new.get(name)
    for name in _COMPARED:
        if then.get(name) is not None:
            yield name, then[name], now[name]
