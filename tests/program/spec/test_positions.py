import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfgn_graph.program.spec.positions import key_lines
from tests.program.spec.strategies import values

TOML = '''# "no key" = [
a.b = 1 # = 2
"c d" = """
x = 1""" # three quotes
[t]
'e=f' = [1, # one
  [2, { g = "]", h.i = 1979-05-27 07:32:00 }],
]
[t.u."v.w"]
j = \'\'\'it''s\'\'\'
k = 'C:\\'
[[l]]
m = 1
[[l]]
m = "a \\" b"
[l.n]
o = 0xff
'''


def test_toml() -> None:
    assert key_lines(TOML, "toml") == {
        ("a",): 2,
        ("a", "b"): 2,
        ("c d",): 3,
        ("t",): 5,
        ("t", "e=f"): 6,
        ("t", "e=f", 0): 6,
        ("t", "e=f", 1): 7,
        ("t", "e=f", 1, 0): 7,
        ("t", "e=f", 1, 1): 7,
        ("t", "e=f", 1, 1, "g"): 7,
        ("t", "e=f", 1, 1, "h"): 7,
        ("t", "e=f", 1, 1, "h", "i"): 7,
        ("t", "u"): 9,
        ("t", "u", "v.w"): 9,
        ("t", "u", "v.w", "j"): 10,
        ("t", "u", "v.w", "k"): 11,
        ("l",): 12,
        ("l", 0): 12,
        ("l", 0, "m"): 13,
        ("l", 1): 14,
        ("l", 1, "m"): 15,
        ("l", 1, "n"): 16,
        ("l", 1, "n", "o"): 17,
    }


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of a document in the order of its text."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, part in items:
        found.append((*path, key))
        if isinstance(part, dict | list):
            found += places(part, (*path, key))
    return found


@given(st.dictionaries(st.text(), values), st.sampled_from([None, 1]))
def test_json_in_one_line_or_with_a_line_for_each_key(content: Any, indent: int | None) -> None:
    text = json.dumps(content, indent=indent)
    lines = key_lines(text, "json")
    assert list(lines) == places(content)
    if indent is None:
        assert set(lines.values()) <= {1}
    for path, line in lines.items():
        key = path[-1]
        if isinstance(key, str):
            assert json.dumps(key) in text.splitlines()[line - 1]
    if indent is not None:
        assert list(lines.values()) == sorted(set(lines.values()))


@pytest.mark.parametrize("text", ["", "\n\n", "# only a remark"])
def test_nothing(text: str) -> None:
    assert key_lines(text, "toml") == {}
