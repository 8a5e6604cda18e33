"""Find, fetch and check data files; keep generated data in a cache.

A file is looked for in the folder given by the caller, then in the folder that the environment
variable ``KFGN_DATA`` names, then in ``../shared/data`` beside the checkout, then in the user's
cache; what has a public address is fetched into that cache by pooch. Wherever a file comes from,
its SHA-256 is compared with the one written in the loader before a byte of it is parsed.
"""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kfgn_graph.errors import KfgnError

DATA_VARIABLE = "KFGN_DATA"
CACHE_VARIABLE = "KFGN_CACHE"
FETCH_TIMEOUT = 20.0


class DataError(KfgnError):
    """A data set could not be had."""


class DataNotFound(DataError):
    """A data file is in none of the places looked in, and could not be fetched."""


class DataCorrupt(DataError):
    """A data file is not, byte for byte, the file that the project knows."""


@dataclass(frozen=True)
class DataFile:
    """A file that the project knows by its hash.

    Attributes
    ----------
    path : str
        Where it lies inside a data folder, as ``"mnist/train-images-idx3-ubyte.gz"``.
    sha256 : str
        The hash of its bytes, in hexadecimal.
    urls : tuple of str
        Public addresses of the same bytes; may be empty.
    origin : str
        Where the file comes from, told to a reader who has to fetch it by hand.
    """

    path: str
    sha256: str
    urls: tuple[str, ...] = ()
    origin: str = ""


def cache_folder() -> Path:
    """Return the folder of fetched and generated data: ``KFGN_CACHE``, or one under the home."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "kfgn_graph"


def data_folders(folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the folders that are looked in, first to last.

    Parameters
    ----------
    folder : path-like, optional
        A folder named by the caller. It is then the only one: what was asked for by name is
        not replaced by something found elsewhere.
    """
    if folder is not None:
        return [Path(folder)]
    named = os.environ.get(DATA_VARIABLE)
    checkout = Path(__file__).resolve().parents[3]
    beside = checkout.parent / "shared" / "data"
    return [*([Path(named)] if named else []), beside, cache_folder() / "downloads"]


def find(file: DataFile, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of a known file, fetched if need be, its hash checked.

    Parameters
    ----------
    file : DataFile
        What to find.
    folder : path-like, optional
        Look here only.

    Raises
    ------
    DataNotFound
        The file is in none of the folders and could not be fetched.
    DataCorrupt
        The file was found, and its hash is not the known one.
    """
    if path := located(file, folder):
        check_hash(path, file.sha256)
        return path
    folders = data_folders(folder)
    if folder is not None:
        raise DataNotFound(_not_found(file, folders, []))
    return _fetch(file, folders)


def located(file: DataFile, folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Return where a known file is, its hash not checked; None if it is in no folder."""
    candidates = (place / file.path for place in data_folders(folder))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def check_hash(path: Path, sha256: str) -> None:
    """Compare a file's SHA-256 with the known one.

    Raises
    ------
    DataCorrupt
        They differ.
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
    """Fetch a file from the first of its addresses that answers."""
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
    raise DataNotFound(_not_found(file, folders, problems))


def _not_found(file: DataFile, folders: list[Path], problems: list[str]) -> str:
    looked = "".join(f"\n  {folder / file.path}" for folder in folders)
    tried = "".join(f"\n  {problem}" for problem in problems)
    return (
        f"{file.path} was not found. Looked for:{looked}"
        + (f"\nTried to fetch it from:{tried}" if tried else "")
        + f"\nPut the file (SHA-256 {file.sha256}) under a folder and name the folder in the "
        f"environment variable {DATA_VARIABLE}."
        + (f" Origin: {file.origin}." if file.origin else "")
    )


def cached_path(stem: str) -> Path:
    """Return where generated arrays are kept, whether they are there or not."""
    return cache_folder() / "generated" / f"{stem}.npz"


def cached_arrays(
    stem: str, build: Callable[[], Mapping[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], Path]:
    """Return arrays from the cache, built and kept there the first time.

    The file appears under its name only when it is complete, so two processes may build it at
    once and an interrupted one leaves nothing half written.

    Parameters
    ----------
    stem : str
        File name without ending; has to name all that the arrays depend on (recipe, its version,
        the seed).
    build : callable
        Makes the arrays.

    Raises
    ------
    DataCorrupt
        The kept file cannot be read.
    """
    path = cached_path(stem)
    if not path.is_file():
        write_arrays(path, build())
    try:
        with path.open("rb") as stream, np.load(stream) as kept:
            return {name: kept[name] for name in kept.files}, path
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataCorrupt(
            f"{path} cannot be read ({error}). Delete it to make it anew."
        ) from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an uncompressed ``.npz`` so that ``path`` is either absent or complete.

    Raises
    ------
    DataError
        It cannot be written, as where the disk is full.
    """
    try:
        _write_draft(path, arrays)
    except OSError as error:
        raise DataError(
            f"cannot keep {path} ({error.strerror or error}). Make room, or name another folder "
            f"in the environment variable {CACHE_VARIABLE}."
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
