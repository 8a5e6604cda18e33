"""The paths that a user gives to a command, checked while its arguments are parsed."""

from __future__ import annotations

import os
from pathlib import Path

import typer

_SEPARATORS = tuple(sign for sign in (os.sep, os.altsep) if sign)


def folder_named(text: str | Path) -> Path:
    """Return the path of a folder.

    Raises
    ------
    typer.BadParameter
        The text is empty, which Python would read as the working folder, or has a null character.
    """
    if not str(text):
        raise typer.BadParameter('the path is empty; for the working folder, give ".".')
    if "\0" in str(text):
        raise typer.BadParameter("a path cannot have a null character.")
    return Path(text)


def file_named(text: str | Path) -> Path:
    """Return the path of a file to write.

    Raises
    ------
    typer.BadParameter
        The text is empty, has a null character or names a folder.
    """
    if not str(text):
        raise typer.BadParameter("the path is empty; give the name of a file.")
    path = folder_named(text)
    if path.name in ("", "..") or str(text).endswith(_SEPARATORS):
        raise typer.BadParameter(f"{text} is a folder; give the name of a file.")
    return path
