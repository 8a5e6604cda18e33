"""Reading of ``.npz`` files that may be damaged or crafted: sizes are checked first."""

from __future__ import annotations

import math
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import IO

import numpy as np

from kfgn_graph.program.machine import physical_memory

CHUNK = 2**20
_KINDS = "biufcSU"
_FAULTS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    RecursionError,
    RuntimeError,  # an encrypted file
    zipfile.BadZipFile,
    zlib.error,
)


class Unreadable(ValueError):
    """A file that is not a readable ``.npz`` file; the message is the reason."""


class Archive:
    """The arrays of an ``.npz`` file, open for reading.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    names : list of str
        The names of the arrays.

    Raises
    ------
    Unreadable
        It is not an ``.npz`` file, or two arrays have one name.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = _opened(path)
            entries = self._file.namelist()
        except _FAULTS as error:
            raise Unreadable(_reason(error)) from error
        names = Counter(name.removesuffix(".npy") for name in entries)
        if doubled := [name for name, count in names.items() if count > 1]:
            self._file.close()
            raise Unreadable(f"it has {names[doubled[0]]} arrays of the name {doubled[0]!r}")
        self.names = list(names)
        self._entries = dict(zip(self.names, entries, strict=True))
        self._left = physical_memory() or math.inf

    def __getitem__(self, name: str) -> np.ndarray:
        """Read an array.

        Raises
        ------
        Unreadable
            The array is damaged, is not an array of numbers or text, or does not fit into memory.
        """
        try:
            with self._file.open(self._entries[name]) as stream:
                return self._read(name, stream)
        except _FAULTS as error:
            raise Unreadable(f"{name}: {_reason(error)}") from error
        except MemoryError:
            raise Unreadable(f"{name} does not fit into memory") from None

    def _read(self, name: str, stream: IO[bytes]) -> np.ndarray:
        shape, fortran, dtype = _array_header(stream)
        if dtype.kind not in _KINDS:
            raise Unreadable(f"it holds {dtype}, not numbers")
        size = math.prod(shape) * dtype.itemsize
        entry = self._file.getinfo(self._entries[name])
        if size >= entry.file_size:  # the header has some bytes as well
            raise Unreadable(f"it declares {size:,} bytes and has {entry.file_size:,}")
        if size > self._left:
            raise Unreadable(f"it has {size / 1e9:,.1f} GB, more than the memory of this machine")
        self._left -= size
        found = _filled(stream, size).view(dtype) if size else np.empty(shape, dtype)
        return found.reshape(shape[::-1]).T if fortran else found.reshape(shape)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _opened(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise Unreadable("it is not a file")
    with path.open("rb") as stream:
        if stream.read(6) == np.lib.format.MAGIC_PREFIX:
            raise Unreadable("it is an .npy file, one array without a name")
    return zipfile.ZipFile(path)


def _array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        with warnings.catch_warnings():  # of Python's parser, and of NumPy on old headers
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(stream)
            if version == (2, 0):
                return np.lib.format.read_array_header_2_0(stream)
    except Exception as error:  # NumPy parses a header as Python, which can fail in any way
        raise Unreadable(f"it is not an .npy file ({_reason(error)})") from error
    raise Unreadable(f"it has version {version} of the .npy format; NumPy writes 1.0 for numbers")


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _filled(stream: IO[bytes], size: int) -> np.ndarray:
    """Read a stream to its end, where its checksum is verified; it must have ``size`` bytes."""
    found = np.empty(size, np.uint8)
    view, done = memoryview(found), 0
    while count := stream.readinto(view[done : done + CHUNK]):  # type: ignore[attr-defined]
        done += count
    if done < size or stream.read(1):
        raise Unreadable(f"it does not have the {size:,} bytes that it declares")
    return found
