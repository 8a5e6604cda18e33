"""``kfgn doctor``: a check of the backends, libraries and packages on this machine."""

from __future__ import annotations

from textwrap import wrap

from rich.console import Console
from rich.table import Table

from kfgn_graph.errors import BackendError
from kfgn_graph.program.cli.common import AsJson, console, escape, print_json, told
from kfgn_graph.program.explanation.diagnosis import Diagnosis, examine

MOST = 100
"""The width of the linker's flags."""


@told
def doctor(as_json: AsJson = False) -> None:
    """Test the backends, and list missing packages with the commands that install them.

    The exit code is 5 if an update with default settings would not compile.
    """
    found = examine()
    if as_json:
        print_json(found.as_dict())
    else:
        _show(found, console())
    if found.problems:
        raise BackendError(" ".join(found.problems))


def _show(found: Diagnosis, out: Console) -> None:
    machine = found.machine
    table = _grid()
    table.add_row("processor", escape(f"{machine['processor']}, {machine['cpus']} usable"))
    table.add_row("system", f"{machine['system']}, Python {machine['python']}")
    table.add_row("packages", _pairs(machine["versions"]))
    table.add_row("thread settings", _pairs(machine["thread_settings"]) or "none")
    table.add_row("graphics", escape(", ".join(found.cards)) or "no NVIDIA driver")
    table.add_row("C++ compiler", found.compiler or "none")
    table.add_row("C links", escape(_wrapped(found.blas_flags)) or "no BLAS")
    out.print(table)
    out.print(_backends(found), _libraries(found), sep="\n")
    if found.extras is not None:
        out.print(_extras(found))
    for line in found.advice:
        out.print(f"[yellow]advice:[/] {escape(line)}")
    if not found.problems:
        out.print(f'[green]No problems found.[/] The backend "auto" is {found.auto}.')


def _wrapped(flags: str) -> str:
    """Return the linker's flags on lines of at most ``MOST`` characters, also in a pipe."""
    lines = wrap(flags, MOST, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def _grid() -> Table:
    return Table(show_header=False, box=None, padding=(0, 2, 0, 0))


def _pairs(values: dict[str, str]) -> str:
    return escape(", ".join(f"{name} {value}" for name, value in values.items()))


def _backends(found: Diagnosis) -> Table:
    table = Table("backend", "usable", "compiles in", "device or problem", box=None)
    for check in found.backends:
        usable = "[green]yes[/]" if check.problem is None else "[red]no[/]"
        took = "" if check.seconds is None else f"{check.seconds:.1f} s"
        table.add_row(check.name, usable, took, escape(check.problem or ", ".join(check.devices)))
    return table


def _libraries(found: Diagnosis) -> Table:
    table = Table("library", "version", "threads", "from", box=None)
    for library in found.libraries:
        table.add_row(
            library.kind, library.version or "", str(library.threads), escape(library.owner)
        )
    return table


def _extras(found: Diagnosis) -> Table:
    table = Table("extra", "missing", "remedy", box=None)
    for extra in found.extras or ():
        missing = escape(", ".join(extra.missing)) or "[green]nothing[/]"
        table.add_row(extra.name or "(required)", missing, escape(extra.remedy or ""))
    return table
