"""Read specs: from TOML or JSON text, from a file, or by the name of a preset."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn, cast

from pydantic import ValidationError

from kfgn_graph.errors import SpecError
from kfgn_graph.program.keys import unique_keys
from kfgn_graph.program.spec.complaints import complaints, did_you_mean, shown
from kfgn_graph.program.spec.models import GraphSpec
from kfgn_graph.program.spec.positions import Kind, key_lines

SUFFIXES: dict[str, Kind] = {".toml": "toml", ".json": "json"}
LARGEST = 1_000_000
MOST_PARTS = 50
"""Number of parts from which a dotted key is refused; the time to parse it grows as its square."""
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_LONG_KEY = re.compile(rf"(?<![\w-])(?:{_PART}){{{MOST_PARTS - 1}}}")
_AT_LINE = re.compile(r"(.*) \(at line (\d+), column (\d+)\)", re.DOTALL)


def read_spec(path: str | Path, overrides: Sequence[str] = ()) -> GraphSpec:
    """Read a spec from a file. The suffix, ``.toml`` or ``.json``, determines its language.

    Parameters
    ----------
    path : path
        The file.
    overrides : sequence of str
        Keys to set, as in ``"method.rate=0.1"``; see :func:`parse_spec`.

    Raises
    ------
    SpecError
        The file cannot be read or is not a valid spec. The message names the file, line, key,
        value found, allowed values and nearest spelling.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise SpecError(f"{path}: the name of a spec must end in {' or '.join(SUFFIXES)}.")
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SpecError(f"{path}: is not a file.")
        if found.st_size > LARGEST:
            raise SpecError(f"{path}: a spec may have at most {LARGEST:,} bytes.")
        with path.open("rb") as stream:
            content = stream.read(LARGEST)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"{path}: cannot be read ({reason}).") from error
    text = _decoded(content, str(path))
    return parse_spec(text, SUFFIXES[path.suffix.lower()], str(path), overrides)


def parse_spec(
    text: str, kind: Kind, where: str = "the spec", overrides: Sequence[str] = ()
) -> GraphSpec:
    """Read a spec from text.

    Parameters
    ----------
    text : str
        The document.
    kind : "toml" or "json"
        Language of the document.
    where : str
        Name of the document in error messages, usually the file's path.
    overrides : sequence of str
        Keys to set, as in ``"method.rate=0.1"``: a dotted key, and a value in TOML's notation. A
        value that is not TOML is text.

    Raises
    ------
    SpecError
        The text is not a valid spec; see :func:`read_spec`.
    """
    content = _toml(text, where) if kind == "toml" else _json(text, where)
    paths = [_override(content, text) for text in overrides]
    try:
        return GraphSpec.model_validate(content, strict=True)
    except ValidationError as error:
        lines = key_lines(text, kind)
        for path in paths:
            lines = {key: line for key, line in lines.items() if key[: len(path)] != path}
        where += ", with --set" if paths else ""
        raise SpecError(complaints(error, where, lines)) from None


def _override(content: dict[str, Any], text: str) -> tuple[str, ...]:
    """Set a key of a spec's content, and return the key's path."""
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise SpecError(
            f"--set: found {shown(text)}; write KEY=VALUE, such as method.name=kflr or batch=500."
        )
    try:
        parsed = tomllib.loads(f"value = {value}")
        found = parsed["value"] if len(parsed) == 1 else value
    except (ValueError, RecursionError):
        found = value.strip()
    table = content
    for part in path[:-1]:
        inner = table.get(part, {})
        if part == "method" and isinstance(inner, str):
            inner = {"name": inner}
        if not isinstance(inner, dict):
            raise SpecError(f"--set {key.strip()}: {shown(part)} is {shown(inner)}, not a table.")
        table[part] = inner
        table = inner
    table[path[-1]] = found
    return path


def load_spec(argument: str | Path, overrides: Sequence[str] = ()) -> tuple[GraphSpec, Path]:
    """Return the spec that a command's argument names, and the base folder of its paths.

    Parameters
    ----------
    argument : str or path
        A file, or the name of a preset. Paths in a file are relative to the file's folder, paths
        in a preset to the working folder.
    overrides : sequence of str
        Keys to set; see :func:`parse_spec`.

    Raises
    ------
    SpecError
        The argument is neither a file nor a preset, or the file is not a valid spec.
    """
    path = Path(argument)
    if str(argument) in presets():
        return preset(str(argument), overrides), Path.cwd()
    if path.suffix.lower() in SUFFIXES or _exists(path):
        return read_spec(path, overrides), path.resolve().parent
    raise SpecError(
        f"{argument}: neither a file nor a preset{did_you_mean(argument, presets()) or '.'} "
        f"Presets: {', '.join(presets())}."
    )


def _exists(path: Path) -> bool:
    """Return whether a path exists; a path that the system refuses, as too long, does not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def presets() -> dict[str, str]:
    """Return the names and descriptions of the specs that ship with the package."""
    texts = {name: preset_text(name) for name in _preset_names()}
    return {name: text.partition("\n")[0].removeprefix("# ") for name, text in texts.items()}


def preset(name: str, overrides: Sequence[str] = ()) -> GraphSpec:
    """Return a spec that ships with the package.

    Parameters
    ----------
    name : str
        Its name.
    overrides : sequence of str
        Keys to set; see :func:`parse_spec`.

    Raises
    ------
    SpecError
        No preset has this name.
    """
    return parse_spec(preset_text(name), "toml", f"the preset {name}", overrides)


def preset_text(name: str) -> str:
    """Return a preset's TOML.

    Raises
    ------
    SpecError
        No preset has this name.
    """
    names = _preset_names()
    if name not in names:
        near = did_you_mean(name, names) or "."
        raise SpecError(f"no preset {shown(name)}{near} Presets: {', '.join(names)}.")
    return (resources.files(__package__) / "presets" / f"{name}.toml").read_text("utf-8")


def _preset_names() -> list[str]:
    folder = resources.files(__package__) / "presets"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if ".toml" in f.name)


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{where}, line {line}: not UTF-8 ({error.reason}).") from None


def _toml(text: str, where: str) -> dict[str, Any]:
    if _LONG_KEY.search(text):
        raise SpecError(f"{where}: nested too deeply: a key has {MOST_PARTS} parts or more.")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        if match := _AT_LINE.fullmatch(str(error)):
            what, line, column = match.groups()
            raise SpecError(f"{where}, line {line}, column {column}: {_sentence(what)}") from None
        raise SpecError(f"{where}: {_sentence(str(error))}") from None
    except RecursionError:
        raise SpecError(f"{where}: nested too deeply.") from None
    except ValueError as error:  # an integer with thousands of digits, or an impossible date
        raise SpecError(f"{where}: {_sentence(str(error))}") from None


def _json(text: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(text, object_pairs_hook=unique_keys, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise SpecError(f"{where}, {place}: {_sentence(error.msg)}") from None
    except RecursionError:
        raise SpecError(f"{where}: nested too deeply.") from None
    except ValueError as error:
        raise SpecError(f"{where}: {_sentence(str(error))}") from None
    if not isinstance(content, dict):
        raise SpecError(f"{where}: found {shown(content)}; a spec must be an object, {{...}}.")
    return cast(dict[str, Any], content)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"found {name}, which is not a JSON number")


def _sentence(text: str) -> str:
    """Return a parser's error message as one line: lower case first, a full stop at the end."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return f"{line[:1].lower()}{line[1:].rstrip('.')}."
