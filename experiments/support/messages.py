"""The first sentence of an error."""

import re


def first_sentence(text: str) -> str:
    """Return the first sentence of a message, on one line."""
    line = re.sub(r" \(created at [^)]*\)", "", " ".join(text.split()))
    end = line.find(". ")
    return (line if end < 0 else line[: end + 1])[:300]
