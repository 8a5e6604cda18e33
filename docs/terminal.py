"""Run commands, through a pipe or on a terminal, and draw what the terminal shows."""

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
COLUMNS = 108
CONTROL = re.compile(r"(\x1b\[[\d;?]*[A-Za-z]|\r|\n)")
# Pictures fetch no font: they take one that the reader's machine has.
FONT = "ui-monospace, DejaVu Sans Mono, Menlo, Consolas"
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
FORMAT = FORMAT.replace("Fira Code", FONT)


def piped(command: str, folder: Path, code: int = 0) -> str:
    """Return what a command, which ends with an exit code, prints: output, then errors."""
    done = subprocess.run(
        _program(command),
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != code:
        raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout + done.stderr


def shown(command: str, folder: Path, stop_at: str | None = None) -> str:
    """Return the screen of a terminal after a command, with its colours.

    When the screen shows ``stop_at``, the command gets a Ctrl-C.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
    process = subprocess.Popen(
        _program(command),
        cwd=folder,
        env=_environment(folder) | {"TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    read = b""
    try:
        while part := os.read(ours, 65536):
            read += part
            if stop_at is not None and stop_at in _plain(read):
                process.send_signal(signal.SIGINT)
                stop_at = None
    except OSError:  # the command has ended and closed its side
        pass
    process.wait()
    os.close(ours)
    return f"\x1b[2m$\x1b[0m \x1b[1m{command}\x1b[0m\n{screen(read.decode())}"


def screen(written: str) -> str:
    """Return the lines that a terminal shows once it has carried out the control sequences."""
    lines, row = [""], 0
    for part in CONTROL.split(written):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part == "\r" or (part.startswith("\x1b[") and not part.endswith("m")):
            continue  # columns are not needed: a line is erased before it is written again
        else:
            lines[row] += part
    return "\n".join(lines).rstrip() + "\n"


def picture(screens: list[str], name: str) -> str:
    """Return an SVG of a terminal with the screens below each other."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    console.print(Text.from_ansi("\n".join(screens).rstrip()))
    svg = console.export_svg(title="kfgn", code_format=FORMAT, unique_id=f"terminal-{name}")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def _program(command: str) -> list[str]:
    """Return the arguments of a command whose first word is kfgn or python."""
    first, *rest = command.split()
    return [sys.executable, *(["-m", "kfgn_graph.program"] if first == "kfgn" else []), *rest]


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment: this checkout, and compiled programs kept in the folder only."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return os.environ | {"PYTHONPATH": path, "JAX_COMPILATION_CACHE_DIR": str(folder / "jax")}


def _plain(read: bytes) -> str:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", read.decode(errors="replace"))
