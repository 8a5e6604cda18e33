"""Find, download and verify data files, and cache generated data.

A folder given by the caller is the only one searched. Otherwise the search goes through the folder
in the environment variable ``KFGN_DATA``, then ``../shared/data`` beside the checkout, then the
user's cache. A file with a public address that is in none of these is downloaded into the cache by
pooch. Before a file is parsed, its SHA-256 is compared with the hash in the loader.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kfgn_graph.errors import KfgnError
from kfgn_graph.program.archives import Archive, Unreadable

DATA_VARIABLE = "KFGN_DATA"
CACHE_VARIABLE = "KFGN_CACHE"
FETCH_TIMEOUT = 20.0


class DataError(KfgnError):
    """A data set is not available."""


class DataNotFound(DataError):
    """A data file is in none of the folders searched and could not be downloaded.

    Parameters
    ----------
    message : str
        All that was tried, and the remedy.
    brief : str, optional
        The same in two lines, without the folders and addresses; by default the message.
    """

    def __init__(self, message: str, brief: str = "") -> None:
        super().__init__(message)
        self.brief = brief or message


class DataCorrupt(DataError):
    """A data file has the wrong hash or cannot be parsed."""


@dataclass(frozen=True)
class DataFile:
    """A data file with a known hash.

    Attributes
    ----------
    path : str
        Path inside a data folder, for example ``"mnist/train-images-idx3-ubyte.gz"``.
    sha256 : str
        SHA-256 of the file, in hexadecimal.
    urls : tuple of str
        Public addresses of the file; may be empty.
    origin : str
        Origin of the file, for error messages that ask the user to download it.
    """

    path: str
    sha256: str
    urls: tuple[str, ...] = ()
    origin: str = ""


def cache_folder() -> Path:
    """Return the cache folder: ``KFGN_CACHE``, or ``~/.cache/kfgn_graph`` if that is not set."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "kfgn_graph"


def data_folders(folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the folders to search, in order.

    Parameters
    ----------
    folder : path-like, optional
        A folder named by the caller. It is the only one searched, so that no file from elsewhere
        takes the place of a file in it.
    """
    if folder is not None:
        return [Path(folder)]
    named = os.environ.get(DATA_VARIABLE)
    checkout = Path(__file__).resolve().parents[3]
    beside = checkout.parent / "shared" / "data"
    return [*([Path(named)] if named else []), beside, cache_folder() / "downloads"]


def find(file: DataFile, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of a data file after checking its hash; download the file if necessary.

    Parameters
    ----------
    file : DataFile
        The file to find.
    folder : path-like, optional
        The only folder to search; no download is tried then.

    Raises
    ------
    DataNotFound
        The file is in none of the folders and could not be downloaded.
    DataCorrupt
        The file was found, but its hash is wrong.
    """
    if path := located(file, folder):
        check_hash(path, file.sha256)
        return path
    folders = data_folders(folder)
    if folder is not None:
        raise DataNotFound(_not_found(file, folders, []), _brief(file, folders, []))
    return _fetch(file, folders)


def located(file: DataFile, folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the path of a data file without checking its hash; None if it is in no folder."""
    candidates = (place / file.path for place in data_folders(folder))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def check_hash(path: Path, sha256: str) -> None:
    """Check the SHA-256 of a file.

    Raises
    ------
    DataCorrupt
        The hash is not the expected one.
    """
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise DataCorrupt(
            f"{path} is damaged, or another file of the same name: its SHA-256 is {found}, "
            f"{sha256} was expected ({path.stat().st_size} bytes read). "
            "Delete or replace the file."
        )


def _fetch(file: DataFile, folders: list[Path]) -> Path:
    """Download a file from the first of its addresses that works."""
    import pooch

    target = cache_folder() / "downloads" / file.path
    problems = []
    for url in file.urls:
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{file.sha256}",
                fname=target.name,
                path=target.parent,
                downloader=pooch.HTTPDownloader(timeout=FETCH_TIMEOUT),
            )
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; pooch: ValueError
            problems.append(f"{url}: {type(error).__name__}: {str(error)[:160]}")
        else:
            return target
    raise DataNotFound(_not_found(file, folders, problems), _brief(file, folders, problems))


def _brief(file: DataFile, folders: list[Path], problems: list[str]) -> str:
    tried = f", and {len(problems)} downloads failed" if problems else ""
    return (
        f"{file.path} is in none of the {len(folders)} folders searched{tried}. Details: kfgn "
        f"data get NAME --verbose.\nPut the file into a folder as {file.path}, and set "
        f"{DATA_VARIABLE} to that folder."
    )


def _not_found(file: DataFile, folders: list[Path], problems: list[str]) -> str:
    looked = "".join(f"\n  {folder / file.path}" for folder in folders)
    tried = "".join(f"\n  {problem}" for problem in problems)
    return (
        f"{file.path} was not found. Searched:{looked}"
        + (f"\nDownloads that failed:{tried}" if tried else "")
        + f"\nPut the file (SHA-256 {file.sha256}) at this path inside a data folder, and set the "
        f"environment variable {DATA_VARIABLE} to that folder."
        + (f" Origin: {file.origin}." if file.origin else "")
    )


def cached_path(stem: str) -> Path:
    """Return the path of cached arrays. The file need not exist."""
    return cache_folder() / "generated" / f"{stem}.npz"


def cached_arrays(
    stem: str, build: Callable[[], Mapping[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], Path]:
    """Return cached arrays and the path of their file; build and store them if it does not exist.

    The file takes its name only when it is complete. Several processes may therefore build it at
    the same time, and an interrupted process leaves no incomplete file.

    Parameters
    ----------
    stem : str
        File name without suffix. It must identify all that the arrays depend on: the recipe, its
        version and the seed.
    build : callable
        Function that computes the arrays.

    Raises
    ------
    DataCorrupt
        The cached file cannot be read.
    DataError
        The file cannot be written.
    """
    path = cached_path(stem)
    if not path.is_file():
        write_arrays(path, build())
    try:
        with Archive(path) as kept:
            return {name: kept[name] for name in kept.names}, path
    except Unreadable as error:
        raise DataCorrupt(
            f"{path} cannot be read ({error}). Delete it; it is then generated again."
        ) from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an uncompressed ``.npz`` file atomically.

    Raises
    ------
    DataError
        The file cannot be written, for example because the disk is full.
    """
    try:
        _write_draft(path, arrays)
    except OSError as error:
        raise DataError(
            f"cannot write {path} ({error.strerror or error}). Free some space, or set the "
            f"environment variable {CACHE_VARIABLE} to another folder."
        ) from error


def _write_draft(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".npz")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
