"""Parts that all commands share: consoles, exit codes and the reporting of errors."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import IO, Annotated, Any, cast

import typer
from rich import markup
from rich.console import Console

from kfgn_graph.errors import BackendError, CheckpointError, KfgnError, SpecError
from kfgn_graph.program.cli.paths import folder_named
from kfgn_graph.program.datasets import DataError
from kfgn_graph.program.spec import presets

#: Exit codes. The first row whose class matches an error gives its code.
EXIT_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (SpecError, 2),
    (DataError, 3),
    (CheckpointError, 4),
    (BackendError, 5),
    (KfgnError, 1),
    (OSError, 1),
    (MemoryError, 1),
)
INTERRUPTED = 130
INTERNAL = 70
WIDE = 1000
"""The width of output to a file or a pipe, wide enough that no line is wrapped."""
DEBUG_VARIABLE = "KFGN_DEBUG"


def preset_names(begun: str) -> list[str]:
    """Return the presets that complete a word. The shell itself completes file names."""
    return [name for name in presets() if name.startswith(begun)]


SpecArgument = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="The file of a spec, or the name of a preset.",
        autocompletion=preset_names,
    ),
]
RunArguments = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", parser=folder_named, help="The folders of the runs."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


def escape(text: str) -> str:
    """Return text for a console: without markup, and with control characters escaped.

    The names in a folder may be a stranger's, and escape sequences control a terminal.
    """
    return markup.escape(printable(text))


def printable(text: str) -> str:
    """Return text with control characters other than line ends escaped."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def on_terminal() -> bool:
    """Return whether standard output is a terminal; if it is closed, it is not."""
    return sys.stdout is not None and sys.stdout.isatty()


def console() -> Console:
    """Return a console for standard output, without wrapping if it is not a terminal."""
    terminal = on_terminal()
    if terminal or sys.stdout is None:
        return Console(highlight=False, soft_wrap=not terminal)
    file = cast(IO[str], _Trimmed(sys.stdout))
    return Console(file=file, highlight=False, soft_wrap=True, width=WIDE)


class _Trimmed:
    """A stream without the blanks with which tables pad their lines."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(re.sub(r" +(?=\n)", "", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def print_json(document: Mapping[str, Any] | list[Any]) -> None:
    """Print one JSON document to standard output.

    Raises
    ------
    KfgnError
        Standard output is closed.
    """
    if sys.stdout is None:
        raise KfgnError("standard output is closed: the result cannot be printed.")
    typer.echo(json.dumps(document, indent=1, allow_nan=False))


def told[**P](command: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command so that an error prints a line to standard error and sets the exit code."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        _tolerate_characters()
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if code_of(error) == INTERNAL and os.environ.get(DEBUG_VARIABLE):
                raise
            _tell(*_words(error))
            raise typer.Exit(code_of(error)) from None
        finally:
            _discard_unwritable()

    # The help keeps the line ends within a paragraph, and would wrap them once more.
    guarded.__doc__ = re.sub(r"(?<!\n)\n *(?=[^\s])", " ", command.__doc__ or "").strip()
    return guarded


def code_of(error: BaseException) -> int:
    """Return the exit code for an error."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), INTERNAL)


def _words(error: Exception) -> tuple[str, str]:
    """Return the kind of an error, and its message."""
    if isinstance(error, KfgnError):
        return "error", str(error)
    if isinstance(error, OSError):
        place = "" if error.filename is None else f" {error.filename}"
        return "error", f"cannot read or write{place}: {error.strerror or error}."
    if isinstance(error, MemoryError):
        return "error", f"the memory of this machine does not suffice ({error})."
    return (
        "internal error",
        f"{type(error).__name__}: {error} (a bug in this program; please report it. "
        f"{DEBUG_VARIABLE}=1 shows the traceback)",
    )


def _tell(kind: str, message: str) -> None:
    with suppress(OSError, ValueError, SystemExit):  # where standard error cannot be written
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"[bold red]{kind}:[/] {escape(message)}"
        )


def _tolerate_characters() -> None:
    """Let standard streams escape the characters that their encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_unwritable() -> None:
    """Point standard streams that cannot be written to nothing, so that Python can end."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
