"""The catalogue of built-in data sets: their content, where they are, and how to obtain them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kfgn_graph.errors import SpecError
from kfgn_graph.program.datasets import DataError, curves, digits, faces, files, mnist, uci
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
        Find, download or generate the data, check them, and return their path.
    """

    name: str
    content: str
    way: Way
    spec: str
    look: Callable[[], Path | None]
    have: Callable[[], Path]


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


def _mnist() -> Entry:
    known = [file for split in mnist.FILES.values() for file in split]

    def look() -> Path | None:
        found = [files.located(file) for file in known]
        return found[0].parent if found[0] is not None and None not in found else None

    def have() -> Path:
        paths = [files.find(file) for file in known]
        return paths[0].parent

    content = "60,000 handwritten digits, 28x28"
    return Entry("mnist", content, "fetched", 'name = "mnist"', look, have)


def _digits() -> Entry:
    def look() -> Path | None:
        try:
            return digits.digits_path()
        except DataError:
            return None

    content = "1,797 handwritten digits, 8x8"
    return Entry(
        "digits", content, "with scikit-learn", 'name = "digits"', look, digits.digits_path
    )


def _curves() -> Entry:
    kept = files.cached_path(curves.kept_name(0))

    def have() -> Path:
        curves.load_curves()
        return kept

    content = "20,000 images of smooth curves, 28x28"
    return Entry("curves", content, "generated", 'name = "curves"', _if_there(kept), have)


def _faces() -> Entry:
    kept = files.cached_path(faces.kept_name(0))

    def have() -> Path:
        faces.load_faces()
        return kept

    content = "103,500 patches of faces, 25x25"
    return Entry("faces", content, "generated", 'name = "faces"', _if_there(kept), have)


def _table(table: str) -> Entry:
    file = uci.table_file(table)
    return Entry(
        f"uci/{table}",
        "regression table",
        "by hand",
        f'name = "uci", table = "{table}"',
        lambda: files.located(file),
        lambda: files.find(file),
    )


def _if_there(path: Path) -> Callable[[], Path | None]:
    return lambda: path if path.is_file() else None
