"""Tables in text files: columns of numbers, and columns of categories as one-hot vectors."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kfgn_graph.errors import SpecError
from kfgn_graph.program.datasets import DataCorrupt
from kfgn_graph.program.spec.complaints import did_you_mean, shown

#: The delimiters of tables by the suffix of their file.
DELIMITERS = {".csv": ",", ".tsv": "\t"}
MOST_CATEGORIES = 1000
"""Number of categories above which a column is taken for identifiers."""


@dataclass(frozen=True)
class Table:
    """The columns of a table, as a network reads them.

    Attributes
    ----------
    inputs : ndarray of float64, shape (N, D)
        The examples: a column for each column of numbers, and one for each category of the others.
    names : tuple of str
        The names of the columns of ``inputs``; ``<column>=<category>`` for a category.
    targets : ndarray, shape (N,), or None
        The target: int64 if its column has whole numbers or text, float64 otherwise; None without
        a target.
    classes : tuple of str
        For a target of text: the texts that the whole numbers stand for, sorted.
    """

    inputs: np.ndarray
    names: tuple[str, ...]
    targets: np.ndarray | None
    classes: tuple[str, ...] = ()


def read_table(
    path: Path, target: str | None, columns: Sequence[str] = (), categorical: Sequence[str] = ()
) -> Table:
    """Read a table whose first line names the columns.

    A column whose first entry is a number is a column of numbers; any other has categories.

    Parameters
    ----------
    path : Path
        The file, in UTF-8: ``.csv`` with commas, ``.tsv`` with tabs.
    target : str or None
        The column of the targets.
    columns : sequence of str
        The columns of the examples; by default all but the target.
    categorical : sequence of str
        Columns with categories, even if these are written as numbers.

    Raises
    ------
    SpecError
        The table has no such column, or the examples have none.
    DataCorrupt
        The file is no table, or an entry is missing, is text in a column of numbers, or is not
        finite. The message names file, line and column.
    """
    header, lines, rows = _rows(path)
    named = {"target": [] if target is None else [target]}
    named |= {"columns": list(columns), "categorical": list(categorical)}
    for key, names in named.items():
        for name in names:
            if name not in header:
                near = did_you_mean(name, header) or "."
                raise SpecError(
                    f"data.{key}: no column {shown(name)} in {path}{near} "
                    f"It has {', '.join(map(shown, header))}."
                )
    if target is not None and target in columns:
        raise SpecError(f"data.columns: {shown(target)} is the target; leave it out.")
    taken = list(columns) or [name for name in header if name != target]
    if not taken:
        raise SpecError(f"data.target: {path} has no other column, so that there are no examples.")
    columns_of = dict(zip(header, zip(*rows, strict=True), strict=True))
    reader = _Columns(path, lines, frozenset(categorical))
    parts: list[np.ndarray] = []
    found: list[str] = []
    for name in taken:
        numbers = reader.numbers(name, columns_of[name])
        if numbers is not None:
            parts.append(numbers[:, None])
            found.append(name)
            continue
        categories, codes = reader.categories(name, columns_of[name])
        parts.append(np.eye(len(categories))[codes])
        found += [f"{name}={category}" for category in categories]
    inputs = np.hstack(parts)
    if target is None:
        return Table(inputs, tuple(found), None)
    numbers = reader.numbers(target, columns_of[target])
    if numbers is None:
        categories, codes = reader.categories(target, columns_of[target])
        return Table(inputs, tuple(found), codes.astype(np.int64), categories)
    whole = all(entry.strip().lstrip("+-").isdecimal() for entry in columns_of[target])
    exact = whole and bool(np.all(np.abs(numbers) < 2**53))
    return Table(inputs, tuple(found), numbers.astype(np.int64) if exact else numbers)


class _Columns:
    """Conversion of columns of text, whose errors name file, line and column."""

    def __init__(self, path: Path, lines: Sequence[int], categorical: frozenset[str]) -> None:
        self._path, self._lines, self._categorical = path, lines, categorical

    def numbers(self, name: str, entries: Sequence[str]) -> np.ndarray | None:
        """Return a column of numbers as float64, shape (N,); None if it has categories."""
        if name in self._categorical or (_number(entries[0]) is None and entries[0].strip()):
            return None
        with suppress(ValueError):
            values = np.array(entries, np.float64)
            if np.isfinite(values).all():
                return values
        found = []
        for row, entry in enumerate(entries):
            number = _number(entry)
            if number is None:
                self._refuse(
                    row,
                    name,
                    f"found {shown(entry)} in a column of numbers. If they are categories, list "
                    "the column in data.categorical"
                    if entry.strip()
                    else "the entry is missing. Remove the line, or give a value",
                )
            elif not math.isfinite(number):
                self._refuse(row, name, f"found {shown(entry)}, which is not finite")
            else:
                found.append(number)
        return np.array(found, np.float64)

    def categories(self, name: str, entries: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the sorted categories of a column, and the index of each entry's."""
        texts = [entry.strip() for entry in entries]
        if "" in texts:
            self._refuse(
                texts.index(""), name, "the entry is missing. Remove the line, or give a value"
            )
        categories, codes = np.unique(np.array(texts), return_inverse=True)
        if len(categories) > MOST_CATEGORIES:
            raise SpecError(
                f"data: column {shown(name)} of {self._path} has {len(categories):,} categories, "
                f"more than {MOST_CATEGORIES:,}: leave out a column of names or identifiers, by "
                "data.columns."
            )
        return tuple(categories.tolist()), codes

    def _refuse(self, row: int, name: str, problem: str) -> None:
        raise DataCorrupt(
            f"{self._path}, line {self._lines[row]}, column {shown(name)}: {problem}."
        )


def _number(entry: str) -> float | None:
    try:
        return float(entry)
    except ValueError:
        return None


def _rows(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Return the names of the columns, and the line number and the entries of each row."""
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=DELIMITERS[path.suffix.lower()], strict=True)
            header = [name.strip() for name in next(reader, [])]
            for row in reader:
                if not row:
                    continue  # an empty line
                if len(row) != len(header):
                    raise DataCorrupt(
                        f"{path}, line {reader.line_num}: found {len(row)} entries; the first "
                        f"line names {len(header)} columns."
                    )
                lines.append(reader.line_num)
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataCorrupt(f"{path} is not a readable table in UTF-8 ({error}).") from error
    if not rows:
        raise DataCorrupt(f"{path} has no examples: a first line with names, then the rows.")
    doubled = [name for name in header if header.count(name) > 1]
    if doubled or "" in header:
        which = f"two columns are named {shown(doubled[0])}" if doubled else "a column has no name"
        raise DataCorrupt(f"{path}, line 1: {which}.")
    return header, lines, rows
