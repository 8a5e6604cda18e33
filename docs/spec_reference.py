"""Generate ``reference/spec.md`` from the models of the spec; run it after they change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kfgn_graph.program.spec import json_schema, preset_text, presets

PAGE = Path(__file__).parent / "reference" / "spec.md"
HEAD = """# The spec

A spec is the file that `kfgn train`, `explain` and `bench` read: TOML, or the same as JSON. This
page is generated from the models that check a spec. `kfgn presets --schema` prints them as a JSON
Schema, with which editors complete and check. In Python a spec is `kfgn_graph.GraphSpec`, with the
same names.

A key that is left out takes its default. An unknown key, a value out of its range, and a setting
without effect are errors. The message names the file, the line, the key, the value, the allowed
values and the nearest spelling.
"""
MOST = 10**15


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")
    print(PAGE)


def page() -> str:
    """Return the page's text."""
    schema = json_schema()
    tables = {
        key: _definition(schema, part)
        for key, part in schema["properties"].items()
        if _definition(schema, part)
    }
    plain = {key: part for key, part in schema["properties"].items() if key not in tables}
    parts = [HEAD, *_example(), "## Keys of the spec itself\n", _table(plain, schema)]
    for key, found in tables.items():
        own, shared = _line(schema["properties"][key]["description"]), _line(found["description"])
        told = shared if shared.startswith(own.rstrip(".")) else f"{own} {shared}"
        parts += [f"## [{key}]\n", f"{told}\n"]
        parts.append(_table(found["properties"], found))
    return "\n".join(parts)


def _example() -> Iterator[str]:
    name = next(name for name in presets() if name == "mnist-autoencoder")
    yield f"The preset `{name}`, as `kfgn presets {name}` prints it:\n"
    yield f"```toml\n{preset_text(name).rstrip()}\n```\n"


def _definition(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any] | None:
    """Return the table that a key holds, if it holds one."""
    for option in (part, *part.get("anyOf", ())):
        if "$ref" in option:
            return schema["$defs"][option["$ref"].rpartition("/")[2]]
    return None


def _table(properties: dict[str, Any], owner: dict[str, Any]) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    needed = owner.get("required", ())
    for key, part in properties.items():
        default = "needed" if key in needed else _default(part)
        cells = [f"`{key}`", _kind(part), default, _line(part["description"])]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(part: dict[str, Any]) -> str:
    value = part.get("default")
    return "" if value is None else f"`{json.dumps(value)}`"


def _kind(part: dict[str, Any]) -> str:
    """Return the description of the allowed values."""
    options = [option for option in part.get("anyOf", [part]) if option.get("type") != "null"]
    return " or ".join(_one_kind(option) for option in options)


def _one_kind(option: dict[str, Any]) -> str:
    if "enum" in option:
        return ", ".join(f'`"{word}"`' for word in option["enum"])
    if option["type"] == "array":
        return f"list: {_one_kind(option['items'])}"
    if option["type"] == "string":
        return f"text `{option['pattern']}`" if "pattern" in option else "text"
    if option["type"] == "boolean":
        return "`true` or `false`"
    name = "whole number" if option["type"] == "integer" else "number"
    return f"{name}{_bounds(option)}"


def _bounds(option: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    there = {k: option[k] for k in signs if k in option and abs(option[k]) != MOST}
    told = [f"{signs[k]} {v:.15g}" for k, v in there.items()]
    return " " + ", ".join(told) if told else ""


def _line(text: str) -> str:
    """Return a description as a line of Markdown."""
    return " ".join(text.split()).replace("``", "`")


if __name__ == "__main__":
    main()
