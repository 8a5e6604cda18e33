"""Files of results: JSON, readable, either absent or complete."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path


def write_json(path: Path, record: Mapping[str, object]) -> Path:
    """Write a record, readable, and return the path; the file is either absent or complete.

    JSON has no NaN and no infinity: they are written as null.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    text = json.dumps(_finite(record), indent=1, allow_nan=False)
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def _finite(value: object) -> object:
    """Return the value with None in the place of every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
