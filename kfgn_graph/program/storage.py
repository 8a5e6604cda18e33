"""The files of a run: written whole or not at all, named by update, hashed.

An error of the system becomes a :class:`CheckpointError` that names the remedy.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from kfgn_graph.errors import CheckpointError

DRAFT = ".draft"
REMEDIES = {
    errno.ENOSPC: "The disk is full: make room",
    errno.EDQUOT: "Your quota is used up: make room",
    errno.EROFS: "The file system is read-only: choose another folder (--runs)",
    errno.EACCES: "It is not writable: change the permissions, or choose another folder (--runs)",
    errno.EPERM: "It is not writable: change the permissions, or choose another folder (--runs)",
}
_OF_UPDATE = re.compile(r"update-(\d+)\.\w+")


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Convert an OSError from the block, which writes ``path``, into an error with a remedy.

    Raises
    ------
    CheckpointError
        The block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "Check the disk")
        raise CheckpointError(
            f"cannot write {path} ({error.strerror or error}). {remedy}; earlier files are intact."
        ) from error


def write_safely(path: Path, content: bytes) -> None:
    """Write a file atomically: after a power failure it has either its new or its old content.

    Raises
    ------
    CheckpointError
        The file cannot be written; an older file remains unchanged.
    """
    draft = path.with_name(f"{path.name}{DRAFT}")
    with written(path):
        try:
            with draft.open("wb") as stream:
                stream.write(content)
                synchronise(stream)
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        _synchronise_folder(path.parent)


def files_by_update(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """Return a folder's files ``update-<number><suffix>`` with their numbers, in order."""
    if not folder.is_dir():
        return []
    found = [
        (int(match[1]), path)
        for path in folder.iterdir()
        if (match := _OF_UPDATE.fullmatch(path.name)) and path.suffix == suffix
    ]
    return sorted(found)


def file_of_update(folder: Path, update: int, suffix: str) -> Path:
    """Return the path of an update's checkpoint."""
    return folder / f"update-{update:08d}{suffix}"


def digest(arrays: Sequence[np.ndarray]) -> str:
    """Return the SHA-256 of arrays: of their types, shapes and values."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape};".encode())
        found.update(np.ascontiguousarray(array).data if array.size else b"")
    return found.hexdigest()


def synchronise(stream: IO[bytes]) -> None:
    """Flush a stream and wait until its content is on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def _synchronise_folder(folder: Path) -> None:
    """Wait until the entries of a folder are on the disk; do nothing on Windows."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file of a run, so that no other process trains into the same folder.

    The operating system releases the lock when the process ends.

    Raises
    ------
    CheckpointError
        Another process holds the lock.
    """
    with written(path):
        stream = path.open("ab")
    with stream:
        try:
            _lock(stream)
        except OSError as error:
            raise CheckpointError(
                f"{path.parent} is being trained by another process: wait for it, or stop it."
            ) from error
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(stream: IO[bytes]) -> None:
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(stream: IO[bytes]) -> None:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
