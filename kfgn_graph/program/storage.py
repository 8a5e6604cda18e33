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
    errno.EACCES: "It may not be written: change its rights, or choose another folder (--runs)",
    errno.EPERM: "It may not be written: change its rights, or choose another folder (--runs)",
}
_OF_UPDATE = re.compile(r"update-(\d+)\.\w+")


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Turn an error of the system, while the block writes ``path``, into one with a remedy.

    Raises
    ------
    CheckpointError
        The block raised OSError.
    """
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "Look at the disk")
        raise CheckpointError(
            f"cannot write {path} ({error.strerror or error}). {remedy}; what was written before "
            "is intact."
        ) from error


def write_safely(path: Path, content: bytes) -> None:
    """Write a file so that it is found whole or as it was before, whenever the power fails.

    Raises
    ------
    CheckpointError
        It cannot be written; an older file is left as it was.
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
    """Return where the file of an update lies."""
    return folder / f"update-{update:08d}{suffix}"


def digest(arrays: Sequence[np.ndarray]) -> str:
    """Return the SHA-256 of arrays: of their types, shapes and values."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape};".encode())
        found.update(np.ascontiguousarray(array).data if array.size else b"")
    return found.hexdigest()


def synchronise(stream: IO[bytes]) -> None:
    """Wait until what was written lies on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def _synchronise_folder(folder: Path) -> None:
    """Wait until a folder's entries lie on the disk, where systems can be asked to."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from training into a run; the system lets go when this one ends.

    Raises
    ------
    CheckpointError
        Another process has it.
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
