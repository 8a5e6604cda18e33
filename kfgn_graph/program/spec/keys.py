"""The keys of JSON objects, each of which must be given once."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kfgn_graph.program.spec.complaints import shown


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
        raise ValueError(f"the key {shown(key)} is given {count} times")
    return found
