"""Error messages for invalid specs: place, value found, allowed values, nearest spelling."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kfgn_graph.program.spec.models import GraphSpec
from kfgn_graph.program.spec.positions import KeyPath
from kfgn_graph.program.spec.section import Misfit

LONGEST = 60
MOST = 20
"""Largest number of errors that are listed."""
PATTERNS = {
    "graph": "write it as package.module:function",
    "name": 'use letters, digits, ".", "_" and "-", and begin with a letter or a digit',
}
"""How to write each key that has a pattern."""


def complaints(error: ValidationError, where: str, lines: Mapping[KeyPath, int]) -> str:
    """Return one line of text for each error in a spec, at most ``MOST`` and their number.

    Parameters
    ----------
    error : ValidationError
        Pydantic's errors.
    where : str
        Name of the document in the messages.
    lines : mapping
        Line number of each key, from :func:`~kfgn_graph.program.spec.positions.key_lines`.
    """
    found = error.errors(include_url=False)
    told = [f"{_place(_loc(part), where, lines)}: {_what(part)}" for part in found[:MOST]]
    if len(found) > MOST:
        told.append(f"{where}: {len(found) - MOST:,} further errors.")
    return "\n".join(told)


def did_you_mean(word: object, allowed: Iterable[str]) -> str:
    """Return ``; did you mean "..."?`` with the nearest allowed word, or an empty string."""
    if not isinstance(word, str) or len(word) > LONGEST:
        return ""
    near = get_close_matches(word.lower(), list(allowed), n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else ""


def shown(value: object) -> str:
    """Return a value as JSON, with control characters escaped, at most ``LONGEST`` characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):  # an integer with too many digits, or too deep nesting
        return "a value too long to show"
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _loc(error: Mapping[str, Any]) -> KeyPath:
    """Return the path of keys to the faulty value."""
    cause = error.get("ctx", {}).get("error")
    return (*error["loc"], *cause.key.split(".")) if isinstance(cause, Misfit) else error["loc"]


def _place(loc: KeyPath, where: str, lines: Mapping[KeyPath, int]) -> str:
    """Return file, line and key; a key without a known line takes the enclosing table's line."""
    known = [loc[:length] for length in range(len(loc), 0, -1) if loc[:length] in lines]
    line = f", line {lines[known[0]]}" if known else ""
    key = ".".join(_key(part) for part in loc)
    return f"{where}{line}{', ' if key else ''}{key}"


def _key(part: str | int) -> str:
    """Return one part of a dotted key in TOML's notation, quoted where necessary."""
    plain = isinstance(part, int) or (part.isascii() and part.replace("-", "_").isidentifier())
    return str(part) if plain else shown(part)


def _what(error: Mapping[str, Any]) -> str:
    loc, kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        keys = list(_model(loc[:-1]).model_fields)
        hint = _of_the_spec(loc, error["input"]) or did_you_mean(loc[-1], keys)
        return f"no such key{hint or ';'} {'K' if hint else 'k'}eys here: {', '.join(keys)}."
    if kind == "missing":
        return "is required but missing."
    if kind == "value_error":
        return f"{error['ctx']['error']}."
    if kind == "literal_error":
        allowed = _choices(_model(loc[:-1]).model_fields[loc[-1]].annotation)
        near = did_you_mean(error["input"], allowed) or "."
        return f"found {shown(error['input'])}; allowed: {', '.join(allowed)}{near}"
    if kind == "string_pattern_mismatch":
        return f"found {shown(error['input'])}; {PATTERNS[str(loc[-1])]}."
    rule = error["msg"].removeprefix("Input ").removeprefix("String ")
    return f"found {shown(error['input'])}, but it {rule}."


def _of_the_spec(loc: KeyPath, value: object) -> str:
    """Return where a key that stands in a table belongs, if it is a key of the spec itself."""
    key = loc[-1]
    if len(loc) < 2 or key not in GraphSpec.model_fields:
        return ""
    if isinstance(value, Mapping):
        return f"; `{key}` is a table of the spec itself: write [{key}]."
    return f"; `{key}` is a key of the spec itself: in TOML, put it above the first table."


def _choices(annotation: object) -> tuple[str, ...]:
    """Return the values of a Literal, or of an optional Literal."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next(_choices(part) for part in get_args(annotation) if part is not type(None))


def _model(loc: KeyPath) -> type[BaseModel]:
    """Return the model of the table at a path of keys."""
    model: type[BaseModel] = GraphSpec
    for part in loc:
        annotation = model.model_fields[str(part)].annotation
        kinds = [annotation, *get_args(annotation)]
        model = next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
    return model
