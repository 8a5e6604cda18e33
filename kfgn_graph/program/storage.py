"""The files of a run: written whole or not at all, never through links, named by update, hashed.

An error of the system becomes a :class:`CheckpointError` that names the remedy.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
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
_OF_UPDATE = re.compile(r"update-([0-9]{8,15})\.\w+")
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


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


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    path : Path
        The file.
    most : int
        Largest size in bytes that is read.

    Raises
    ------
    CheckpointError
        The path is not a file, the file is larger than ``most`` bytes, or it cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise CheckpointError(f"{path} is not a file.")
        if found.st_size > most:
            raise CheckpointError(f"{path} has {found.st_size:,} bytes, more than {most:,}.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {_reason(error)}.") from error


def refuse_links(paths: Sequence[Path]) -> None:
    """Check that no path is a symbolic link, through which files elsewhere would be written.

    Raises
    ------
    CheckpointError
        A path is a symbolic link.
    """
    for path in paths:
        if path.is_symlink():
            raise CheckpointError(
                f"{path} is a symbolic link, and files are never written through one: put the "
                "file or folder itself in its place."
            )


def open_to_append(path: Path) -> IO[bytes]:
    """Open a file for appending; create it if it does not exist. A symbolic link is refused.

    Raises
    ------
    CheckpointError
        The path is a symbolic link or not a file, or the file cannot be opened.
    """
    refuse_links([path])
    with written(path):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINKS | _BINARY
        flags |= getattr(os, "O_NONBLOCK", 0)
        stream = os.fdopen(os.open(path, flags, 0o666), "ab")
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise CheckpointError(f"{path} is not a file.")
    return stream


def write_safely(path: Path, content: bytes, draft: Path | None = None) -> None:
    """Write a file atomically: after a power failure it has either its new or its old content.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes
        Its new content.
    draft : Path, optional
        The file, in the same folder, that is written first and then renamed; by default the name
        of ``path`` with ``.draft``. An older draft is replaced.

    Raises
    ------
    CheckpointError
        The path is a symbolic link or not a file, or the file cannot be written; an older file
        remains unchanged.
    """
    refuse_links([path])
    draft = path.with_name(f"{path.name}{DRAFT}") if draft is None else draft
    with written(path):
        if path.exists() and not path.is_file():
            raise CheckpointError(f"cannot write {path}: it exists and is not a file.")
        draft.unlink(missing_ok=True)  # of a process that was killed, or a link
        try:
            with draft.open("xb") as stream:
                stream.write(content)
                synchronise(stream)
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        _synchronise_folder(path.parent)


def files_by_update(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """Return a folder's files ``update-<number><suffix>`` with their numbers, in order.

    Raises
    ------
    CheckpointError
        The folder cannot be read.
    """
    try:
        names = os.listdir(folder) if folder.is_dir() else []
    except OSError as error:
        raise CheckpointError(f"cannot read {folder}: {_reason(error)}.") from error
    numbers = [int(match[1]) for name in names if (match := _OF_UPDATE.fullmatch(name))]
    paths = [(number, file_of_update(folder, number, suffix)) for number in sorted(set(numbers))]
    return [(number, path) for number, path in paths if path.name in names]


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


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


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
    with open_to_append(path) as stream:
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
