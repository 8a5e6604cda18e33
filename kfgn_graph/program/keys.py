"""The keys of JSON objects, each of which must be given once."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

LONGEST = 80
"""Number of characters of a key that a message shows."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; the ``object_pairs_hook`` of :func:`json.loads`.

    Raises
    ------
    ValueError
        A key is given more than once, so that its value is ambiguous.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        key, count = Counter(key for key, _ in pairs).most_common(1)[0]
        text = json.dumps(key[:LONGEST])
        raise ValueError(f"the key {text} is given {count} times")
    return found
