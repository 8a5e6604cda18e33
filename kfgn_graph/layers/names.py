"""Unique names of parameters and layers, whatever the user calls them."""

from __future__ import annotations

from collections.abc import Sequence


def unique_names(given: Sequence[str | None], default: str = "") -> list[str]:
    """Return a different name for each place of a sequence.

    A name that is given once stays as it is.

    Parameters
    ----------
    given : sequence of str or None
        The user's names. A missing name becomes ``default`` followed by its index. A repeated name
        is followed by its index, as often as it takes to be new.
    default : str
        What a missing name begins with.

    Returns
    -------
    list of str
        Names that UTF-8 can encode: lone surrogates are written as escapes.
    """
    unique: dict[str, None] = {}
    for index, name in enumerate(given):
        name = str(name or f"{default}{index}").encode("utf-8", "backslashreplace").decode()
        while name in unique:
            name = f"{name}_{index}"
        unique[name] = None
    return list(unique)


def unique_keys(names: Sequence[str]) -> list[str]:
    """Return unique names without ``/``, so that ``<kind>/<name>/<part>`` is unambiguous."""
    return unique_names([name.replace("/", "%2F") for name in names])
