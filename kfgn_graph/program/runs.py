"""The folder of a run: header, metrics, snapshots and checkpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from kfgn_graph.errors import CheckpointError, SpecError
from kfgn_graph.program.checkpoints import CHECKPOINTS, SUFFIX, read_checkpoint
from kfgn_graph.program.headers import RUN_FORMAT as FORMAT
from kfgn_graph.program.headers import RunHeader, check_header
from kfgn_graph.program.keys import unique_keys
from kfgn_graph.program.machine import machine_record
from kfgn_graph.program.metrics import read_metrics
from kfgn_graph.program.spec import GraphSpec, parse_spec
from kfgn_graph.program.steps import Step
from kfgn_graph.program.storage import (
    digest,
    files_by_update,
    read_bytes,
    write_safely,
    written,
)
from kfgn_graph.program.task import Task

HEADER = "run.json"
METRICS = "metrics.jsonl"
SNAPSHOTS = "snapshots"
LARGEST = 10_000_000
"""Largest size in bytes of a run's header."""


@dataclass(frozen=True)
class RunRecord:
    """The content of a run's folder, as :func:`read_run` finds it.

    Metrics, snapshots and checkpoints are read when they are first used; a damaged file raises
    :class:`CheckpointError` then.

    Attributes
    ----------
    path : Path
        The folder.
    header : dict
        The content of ``run.json``: ``format``, ``spec``, ``folder`` of relative data files,
        ``machine`` (see :func:`machine_record`), ``created``, ``floor`` (the least loss that is
        possible), ``data`` (where the data came from), ``data_sha256``, ``parameters`` (their
        number) and ``layers``. ``machine`` is that of the last session. ``earlier`` lists the
        machines of earlier sessions that differ, each with the update until which it was used.
    spec : GraphSpec
        The spec that was trained.
    """

    path: Path
    header: dict[str, Any]
    spec: GraphSpec

    @cached_property
    def _metrics(self) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        path = self.path / METRICS
        return read_metrics(path) if path.exists() else ({}, [])

    @property
    def updates(self) -> dict[str, np.ndarray]:
        """The metrics of the updates: a float64 array for each statistic, shape (updates,).

        ``update``, ``seconds`` (of stepping, since the start of the run) and ``loss`` (of the
        batch, before the update) are always there. A missing value is NaN.
        """
        return self._metrics[0]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The evaluations on the whole training set, first to last.

        Each has ``update``, ``seconds``, ``loss`` (mean over the examples), ``averaged_loss`` and
        ``accuracy``; the last two are None where they do not apply.
        """
        return self._metrics[1]

    @property
    def snapshots(self) -> list[tuple[int, Path]]:
        """The snapshots with their updates, first to last."""
        return files_by_update(self.path / SNAPSHOTS, ".npz")

    @property
    def checkpoints(self) -> list[tuple[int, Path]]:
        """The checkpoints with their updates, first to last."""
        return files_by_update(self.path / CHECKPOINTS, SUFFIX)

    def state(self, update: int | None = None) -> dict[str, np.ndarray]:
        """Read the training state of a checkpoint, and verify its SHA-256.

        Parameters
        ----------
        update : int, optional
            The update of the checkpoint; by default the last one that has a checkpoint.

        Returns
        -------
        dict of str to ndarray
            Parameters, and all else that persists from one update to the next, by name.

        Raises
        ------
        CheckpointError
            There is no such checkpoint, or it is truncated or altered.
        """
        found = dict(self.checkpoints)
        if update is None:
            update = max(found, default=None)
        if update not in found:
            which = "no checkpoint" if update is None else f"no checkpoint of update {update}"
            there = f"; there are those of {', '.join(map(str, found))}" if found else ""
            raise CheckpointError(f"{self.path} has {which}{there}.")
        return read_checkpoint(found[update]).state


def create_run(parent: Path, task: Task, step: Step, folder: Path) -> Path:
    """Create a run's folder ``<name>-<n>`` with an unused number, and its header.

    Parameters
    ----------
    parent : Path
        Folder in which the run's folder is created.
    task : Task
        The task to train.
    step : Step
        The compiled step of the task.
    folder : Path
        Base folder of relative data files.

    Raises
    ------
    CheckpointError
        The folder cannot be written.
    """
    path = _new_folder(parent, task.spec.name)
    with written(path):
        (path / CHECKPOINTS).mkdir()
        (path / SNAPSHOTS).mkdir()
    write_header(path, _header(task, step, folder))
    return path


@contextmanager
def removed_if_unused(path: Path, parent: bool) -> Iterator[None]:
    """Remove a new run's folder if the block raises an exception before anything is recorded.

    An interruption leaves the folder, from which the run can be resumed.

    Parameters
    ----------
    path : Path
        The run's folder.
    parent : bool
        Whether the folder above it is new too, and is then removed if it is empty.
    """
    try:
        yield
    except Exception:
        with suppress(OSError):
            if not _recorded(path):
                rmtree(path)
                if parent:
                    path.parent.rmdir()
        raise


def _recorded(path: Path) -> bool:
    """Return whether a run's folder has metrics, snapshots or checkpoints."""
    metrics = path / METRICS
    if metrics.exists() and metrics.stat().st_size:
        return True
    return any(any((path / name).iterdir()) for name in (CHECKPOINTS, SNAPSHOTS))


def write_header(path: Path, header: dict[str, Any]) -> None:
    """Write the header of a run to its ``run.json``."""
    content = json.dumps(header, indent=1, allow_nan=False) + "\n"
    write_safely(path / HEADER, content.encode())


def read_run(path: str | Path) -> RunRecord:
    """Read the folder of a run, as ``kfgn train`` writes it.

    Parameters
    ----------
    path : path
        The folder.

    Returns
    -------
    RunRecord
        Header, spec, metrics, snapshots and checkpoints.

    Raises
    ------
    CheckpointError
        The folder is no run, or its header is damaged or of another version.

    Examples
    --------
    >>> run = kfgn_graph.read_run("runs/digits-1")  # doctest: +SKIP
    >>> run.updates["loss"].shape  # doctest: +SKIP
    (300,)
    >>> run.evaluations[-1]["accuracy"]  # doctest: +SKIP
    0.998
    """
    path = Path(path)
    header = path / HEADER
    try:
        there = header.exists()
    except OSError as error:
        raise CheckpointError(f"cannot read {header}: {error.strerror}.") from error
    if not there:
        raise CheckpointError(f"{path} is not a run: there is no {header}.")
    try:
        content = json.loads(read_bytes(header, LARGEST).decode(), object_pairs_hook=unique_keys)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        json.dumps(content, ensure_ascii=False).encode()  # no lone surrogates, of no encoding
        check_header(RunHeader, content, str(header))
        spec = parse_spec(json.dumps(content["spec"]), "json", str(header))
    except RecursionError:
        raise CheckpointError(f"{header} is damaged: it is nested too deeply.") from None
    except (ValueError, SpecError) as error:
        told = str(error).rstrip(".")
        raise CheckpointError(f"{header} is damaged or from another version: {told}.") from error
    return RunRecord(path, content, spec)


def _new_folder(parent: Path, name: str) -> Path:
    """Create ``<name>-<n>``, where n is the first number above all existing ones."""
    with written(parent):
        parent.mkdir(parents=True, exist_ok=True)
        numbers = [int(p.name[len(name) + 1 :]) for p in _numbered(parent, name)]
        for number in count(max(numbers, default=0) + 1):
            path = parent / f"{name}-{number}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    raise AssertionError


def _numbered(parent: Path, name: str) -> Iterator[Path]:
    pattern = re.compile(re.escape(name) + r"-[0-9]{1,9}")
    return (path for path in parent.iterdir() if pattern.fullmatch(path.name))


def _header(task: Task, step: Step, folder: Path) -> dict[str, Any]:
    layers = [] if step.update is None else step.update.graph.layers
    return {
        "format": FORMAT,
        "spec": task.spec.model_dump(mode="json", exclude_defaults=True),
        "folder": str(folder),
        "machine": machine_record(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "floor": task.floor,
        "data": task.source,
        "data_sha256": digest(task.arrays),
        "parameters": sum(int(p.get_value(borrow=True).size) for p in task.parameters),
        "layers": [
            {"name": layer.name, "inputs": inputs, "outputs": outputs}
            for layer in layers
            for inputs, outputs in [layer.shape]
        ],
    }
