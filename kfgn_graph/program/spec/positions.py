"""Line numbers of the keys of a TOML or JSON document.

The parsers of Python's standard library do not report them.
"""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import Literal

Kind = Literal["toml", "json"]
KeyPath = tuple[str | int, ...]

_BLANK = {"toml": re.compile(r"(?:\s|#[^\n]*)*"), "json": re.compile(r"\s*")}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]+")
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"(?!"""))?"?', re.DOTALL),
    re.compile(r"'''.*?'''(?:'(?!'''))?'?", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


def key_lines(text: str, kind: Kind) -> dict[KeyPath, int]:
    """Return the line, counted from 1, of every key and list element of a valid document.

    If the document is nested too deeply to scan, the result stops at that place.
    """
    scanner = _Scanner(text, kind)
    try:
        scanner.value(()) if kind == "json" else scanner.document()
    except RecursionError:
        pass
    return scanner.lines


class _Scanner:
    """A scanner for documents that a parser has already accepted."""

    def __init__(self, text: str, kind: Kind) -> None:
        self._text = text
        self._kind = kind
        self._blank = _BLANK[kind]
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._at = 0
        self.lines: dict[KeyPath, int] = {}
        self._skip()

    def document(self) -> None:
        """Scan the statements of a TOML document: table headers and ``key = value`` pairs."""
        table: KeyPath = ()
        counts: Counter[KeyPath] = Counter()
        while self._at < len(self._text):
            if self._peek() != "[":
                self._pair(table)
                continue
            listed = self._text.startswith("[[", self._at)
            self._take("[" * (1 + listed))
            table = self._key(_with_indices((), counts), counts)
            if listed:
                counts[table] += 1
                table = (*table, counts[table] - 1)
                self._mark(table)
            self._take("]" * (1 + listed))

    def value(self, path: KeyPath) -> None:
        """Scan a value at a path of keys."""
        match self._peek():
            case "{":
                self._items("{", "}", lambda _: self._pair(path))
            case "[":
                self._items("[", "]", lambda index: self._element((*path, index)))
            case '"' | "'":
                self._string()
            case _:
                self._matched(_SCALAR)

    def _items(self, opening: str, closing: str, item: Callable[[int], None]) -> None:
        self._take(opening)
        index = 0
        while self._peek() != closing:
            item(index)
            index += 1
            if self._peek() == ",":
                self._take(",")
        self._take(closing)

    def _element(self, path: KeyPath) -> None:
        self._mark(path)
        self.value(path)

    def _pair(self, table: KeyPath) -> None:
        path = self._key(table)
        self._take("=" if self._kind == "toml" else ":")
        self.value(path)

    def _key(self, table: KeyPath, counts: Counter[KeyPath] | None = None) -> KeyPath:
        """Read a plain or dotted key and record its line."""
        path = (*table, self._key_part())
        self._mark(path)
        while self._kind == "toml" and self._peek() == ".":
            self._take(".")
            path = (*_with_indices(path, counts), self._key_part())
            self._mark(path)
        return path

    def _key_part(self) -> str:
        if self._peek() not in ("'", '"'):
            return self._matched(_BARE_KEY)
        raw = self._string()
        return json.loads(raw) if self._kind == "json" else tomllib.loads(f"k = {raw}")["k"]

    def _string(self) -> str:
        return self._matched(*_STRINGS)

    def _matched(self, *patterns: re.Pattern[str]) -> str:
        """Consume and return the match of the first pattern that matches here."""
        match = next(m for p in patterns if (m := p.match(self._text, self._at)))
        self._at = match.end()
        self._skip()
        return match.group()

    def _take(self, sign: str) -> None:
        self._at += len(sign)
        self._skip()

    def _skip(self) -> None:
        self._at = self._blank.match(self._text, self._at).end()  # type: ignore[union-attr]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _mark(self, path: KeyPath) -> None:
        self.lines.setdefault(path, bisect_left(self._newlines, self._at) + 1)


def _with_indices(path: KeyPath, counts: Counter[KeyPath] | None) -> KeyPath:
    """Return the path of the last element if the path names a list of tables."""
    return (*path, counts[path] - 1) if counts and path in counts else path
