"""Saving and restoring everything that persists, as safetensors with a checksum."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kfgn_graph.errors import CheckpointError
from kfgn_graph.update.persistence import SavedState

FORMAT = "kfgn_graph-1"
#: The metadata of a file, and of files from before there were checksums.
METADATA, OLD_METADATA = {"format", "settings", "sha256"}, {"format"}


def save_state(state: SavedState, path: str | os.PathLike[str]) -> None:
    """Write a state to ``path``, atomically: a reader sees the old file or the new one.

    The metadata hold the record of its settings, and a SHA-256 over record and arrays.

    Parameters
    ----------
    state : SavedState
        What to write.
    path : path
        The file; its folder must exist.

    Raises
    ------
    CheckpointError
        If the file cannot be written; an older file at ``path`` is left as it was.

    Notes
    -----
    The permissions of an older file are kept, and a link keeps pointing to its target.
    """
    target = _file(path)
    arrays = {name: np.asarray(a, order="C") for name, a in state.items()}
    record = json.dumps(state.settings or {}, sort_keys=True)
    metadata = {"format": FORMAT, "settings": record, "sha256": digest(record, arrays)}
    data = save(arrays, metadata)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=target.name, delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(_permissions(target))
        temporary.replace(target)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write the state to {target}: {error}.") from error


def read_state(path: str | os.PathLike[str]) -> SavedState:
    """Read a state that :func:`save_state` wrote.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, altered, or not one of ours.
    """
    try:
        with safe_open(_file(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{path} is not a state saved by kfgn_graph ({FORMAT}).")
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError, ValueError, TypeError, LookupError, MemoryError) as error:
        raise CheckpointError(f"cannot read a state from {path}: {error}.") from error
    if set(metadata) == OLD_METADATA:
        return SavedState(arrays)
    altered = set(metadata) != METADATA
    if altered or digest(metadata["settings"], arrays) != metadata["sha256"]:
        raise CheckpointError(
            f"{path} is altered: its content does not match its SHA-256. Use another copy."
        )
    return SavedState(arrays, json.loads(metadata["settings"]))


def _file(path: str | os.PathLike[str]) -> Path:
    """Return the file that a path names, links followed.

    Raises
    ------
    CheckpointError
        If it is no path, or names a device, a pipe or a folder.
    """
    try:
        found = Path(os.path.realpath(os.fsdecode(path)))
        if found.exists() and not found.is_file():
            raise CheckpointError(f"{path} is not a regular file: name another one.")
    except (TypeError, ValueError, OSError) as error:
        raise CheckpointError(f"{path!r} is not the path of a file: {error}.") from error
    return found


def _permissions(path: Path) -> int:
    """Return the permissions of a file; of one that is not there, those of a new file."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def digest(record: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of a record and of the names, dtypes, shapes and values of arrays."""
    found = hashlib.sha256(record.encode())
    for name in sorted(arrays):
        a = np.asarray(arrays[name], order="C")
        found.update(f"\n{name!r} {a.dtype.str} {a.shape} ".encode())
        found.update(a.reshape(-1).view(np.uint8))
    return found.hexdigest()
