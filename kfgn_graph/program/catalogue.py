"""The catalogue of built-in data sets: their content, where they are, and how to obtain them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from kfgn_graph.errors import SpecError
from kfgn_graph.program.datasets import (
    DataError,
    Dataset,
    curves,
    digits,
    faces,
    files,
    mnist,
    uci,
)
from kfgn_graph.program.spec.complaints import did_you_mean

Way = Literal["fetched", "generated", "by hand", "with scikit-learn"]


@dataclass(frozen=True)
class Entry:
    """An entry of the catalogue.

    Attributes
    ----------
    name : str
        Name of the data set in commands; a table of ``uci`` is ``uci/TABLE``.
    content : str
        Description of the examples.
    way : str
        How the data set is obtained.
    spec : str
        Keys of a spec's ``data`` table that select it.
    look : callable
        Return the path of the data on this machine, or None.
    have : callable
        Fetches, finds or generates it, checks it, and returns where it is.
    splits : mapping
        Loaders by split: of all of its examples, without arguments.
    """

    name: str
    content: str
    way: Way
    spec: str
    look: Callable[[], Path | None]
    have: Callable[[], Path]
    splits: Mapping[str, Callable[[], Dataset]]


def catalogue() -> dict[str, Entry]:
    """Return the entries of all data sets by name."""
    entries = [_mnist(), _digits(), _curves(), _faces(), *map(_table, uci.TABLES)]
    return {entry.name: entry for entry in entries}


def entry_named(name: str) -> Entry:
    """Return the entry of a data set.

    Raises
    ------
    SpecError
        No data set has this name.
    """
    entries = catalogue()
    if name not in entries:
        near = did_you_mean(name, entries) or "."
        raise SpecError(f"no data set {name!r}{near} The data sets are {', '.join(entries)}.")
    return entries[name]


def load_data(name: str, split: str = "train", count: int | None = None) -> Dataset:
    """Load a data set by name, found in a data folder, fetched or generated.

    Files are looked for in the folder that the environment variable ``KFGN_DATA`` names and in
    the user's cache, which ``KFGN_CACHE`` moves. The SHA-256 of every file is verified.

    Parameters
    ----------
    name : str
        ``"mnist"``, ``"curves"``, ``"faces"``, ``"digits"``, or ``"uci/TABLE"`` for a regression
        table, such as ``"uci/concrete"``. ``kfgn data list`` lists all names.
    split : {"train", "test", "validation"}
        The part to load: ``"test"`` for MNIST, CURVES and FACES, ``"validation"`` for FACES. The
        other data sets have one part, ``"train"``.
    count : int, optional
        Keep the first ``count`` examples; all by default.

    Returns
    -------
    Dataset
        ``inputs`` (N, D) float32: pixels in [0, 1], except FACES (standardised) and the tables
        (in their own units); ``targets`` (N,), labels int64 or values float32, None for CURVES.

    Raises
    ------
    SpecError
        No such data set or split, or it holds fewer than ``count`` examples.
    DataNotFound
        A file is in none of the folders and cannot be fetched.
    DataCorrupt
        A file differs from the one that the package knows.

    Examples
    --------
    >>> kfgn_graph.load_data("mnist", count=50_000).inputs.shape  # doctest: +SKIP
    (50000, 784)
    """
    splits = entry_named(name).splits
    if split not in splits:
        near = did_you_mean(split, splits) or "."
        raise SpecError(f"{name} has no split {split!r}{near} It has {', '.join(splits)}.")
    return splits[split]().head(count)


def _mnist() -> Entry:
    known = [file for split in mnist.FILES.values() for file in split]

    def look() -> Path | None:
        found = [files.located(file) for file in known]
        return found[0].parent if found[0] is not None and None not in found else None

    def have() -> Path:
        paths = [files.find(file) for file in known]
        return paths[0].parent

    return Entry(
        "mnist",
        "60,000 handwritten digits, 28x28",
        "fetched",
        'name = "mnist"',
        look,
        have,
        {"train": mnist.load_mnist, "test": partial(mnist.load_mnist, "test")},
    )


def _digits() -> Entry:
    def look() -> Path | None:
        try:
            return digits.digits_path()
        except DataError:
            return None

    return Entry(
        "digits",
        "1,797 handwritten digits, 8x8",
        "with scikit-learn",
        'name = "digits"',
        look,
        digits.digits_path,
        {"train": digits.load_digits},
    )


def _curves() -> Entry:
    kept = files.cached_path(curves.kept_name(0))

    def have() -> Path:
        curves.load_curves()
        return kept

    return Entry(
        "curves",
        "20,000 images of smooth curves, 28x28",
        "generated",
        'name = "curves"',
        _if_there(kept),
        have,
        {"train": curves.load_curves, "test": partial(curves.load_curves, "test")},
    )


def _faces() -> Entry:
    kept = files.cached_path(faces.kept_name(0))

    def have() -> Path:
        faces.load_faces()
        return kept

    return Entry(
        "faces",
        "103,500 patches of faces, 25x25",
        "generated",
        'name = "faces"',
        _if_there(kept),
        have,
        {
            "train": faces.load_faces,
            "validation": partial(faces.load_faces, "validation"),
            "test": partial(faces.load_faces, "test"),
        },
    )


def _table(table: str) -> Entry:
    file = uci.table_file(table)
    return Entry(
        f"uci/{table}",
        "regression table",
        "by hand",
        f'name = "uci", table = "{table}"',
        lambda: files.located(file),
        lambda: files.find(file),
        {"train": partial(uci.load_uci, table)},
    )


def _if_there(path: Path) -> Callable[[], Path | None]:
    return lambda: path if path.is_file() else None
