"""Write specs as TOML, and their JSON Schema for completion in editors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kfgn_graph.program.spec.models import GraphSpec

SCHEMA_LANGUAGE = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec."""
    return {"$schema": SCHEMA_LANGUAGE, **GraphSpec.model_json_schema(mode="validation")}


def to_toml(spec: GraphSpec) -> str:
    """Return a spec as TOML without its default values; reading it back gives an equal spec."""
    content = spec.model_dump(mode="json", exclude_defaults=True)
    if list(content.get("method", ())) == ["name"]:
        content["method"] = content["method"]["name"]
    return "\n".join(_lines(content)) + "\n"


def _lines(content: dict[str, Any]) -> Iterator[str]:
    """Yield simple values before tables, since TOML ends a table only at the next header."""
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    for key, value in content.items():
        if key not in tables:
            yield f"{key} = {_value(value)}"
    for key, table in tables.items():
        yield from ("", f"[{key}]", *(f"{k} = {_value(v)}" for k, v in table.items()))


def _value(value: Any) -> str:
    """Return a value as TOML. JSON's notation is valid TOML except for the character U+007F."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
