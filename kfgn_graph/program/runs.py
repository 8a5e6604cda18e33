"""The folder of a run: header, metrics, snapshots and checkpoints."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from kfgn_graph.errors import CheckpointError, SpecError
from kfgn_graph.program.building import Task
from kfgn_graph.program.machine import machine_record
from kfgn_graph.program.metrics import read_metrics
from kfgn_graph.program.spec import GraphSpec, parse_spec
from kfgn_graph.program.steps import Step
from kfgn_graph.program.storage import write_safely, written

FORMAT = "kfgn-run-1"
HEADER = "run.json"
METRICS = "metrics.jsonl"
SNAPSHOTS = "snapshots"
CHECKPOINTS = "checkpoints"
_OF_UPDATE = re.compile(r"update-(\d+)\.\w+")


@dataclass(frozen=True)
class RunRecord:
    """The content of a run's folder.

    Attributes
    ----------
    path : Path
        The folder.
    header : dict
        Content of ``run.json``, with the keys format, spec, folder (of the data), machine,
        created, floor, data, data_sha256, parameters and layers.
    spec : GraphSpec
        The spec of the run.
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
        """Statistics of the updates by name: float64, one entry per update, NaN for no value."""
        return self._metrics[0]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Metrics lines of the evaluations, in order."""
        return self._metrics[1]

    @property
    def snapshots(self) -> list[tuple[int, Path]]:
        """Update and path of each snapshot, in order."""
        return files_by_update(self.path / SNAPSHOTS, ".npz")


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


def write_header(path: Path, header: dict[str, Any]) -> None:
    """Write the header of a run to its ``run.json``."""
    content = json.dumps(header, indent=1, allow_nan=False) + "\n"
    write_safely(path / HEADER, content.encode())


def read_run(path: str | Path) -> RunRecord:
    """Read a run's folder.

    Raises
    ------
    CheckpointError
        The folder is not a run, or its header is damaged.
    """
    path = Path(path)
    header = path / HEADER
    if not header.is_file():
        raise CheckpointError(f"{path} is not a run: there is no {header}.")
    try:
        content = json.loads(header.read_bytes())
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        spec = parse_spec(json.dumps(content["spec"]), "json", str(header))
    except (OSError, ValueError, KeyError, SpecError) as error:
        raise CheckpointError(f"{header} is damaged or from another version: {error}.") from error
    return RunRecord(path, content, spec)


def files_by_update(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """Return number and path of a folder's files ``update-<number><suffix>``, by number."""
    if not folder.is_dir():
        return []
    found = [
        (int(match[1]), path)
        for path in folder.iterdir()
        if (match := _OF_UPDATE.fullmatch(path.name)) and path.suffix == suffix
    ]
    return sorted(found)


def file_of_update(folder: Path, update: int, suffix: str) -> Path:
    """Return the path of an update's file in a folder."""
    return folder / f"update-{update:08d}{suffix}"


def digest(arrays: Sequence[np.ndarray]) -> str:
    """Return the SHA-256 of the dtypes, shapes and values of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape};".encode())
        found.update(np.ascontiguousarray(array).data if array.size else b"")
    return found.hexdigest()


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
            for inputs, outputs in [_sizes(layer)]
        ],
    }


def _sizes(layer: Any) -> tuple[int, int]:
    """Return the input width and the output width of a layer."""
    sizes = tuple(int(size) for size in layer.weight.get_value(borrow=True).shape)
    return (sizes[1], sizes[0]) if layer.transposed else (sizes[0], sizes[1])
