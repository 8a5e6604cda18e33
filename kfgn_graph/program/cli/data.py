"""``kfgn data``: the available data sets, and the commands that obtain them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from kfgn_graph.errors import SpecError
from kfgn_graph.program.catalogue import Entry, catalogue, entry_named
from kfgn_graph.program.cli.common import AsJson, console, print_json, told
from kfgn_graph.program.datasets import DataNotFound

data_app = typer.Typer(
    name="data", help="List, fetch and generate data sets.", no_args_is_help=True
)


def names(begun: str) -> list[str]:
    """Return the data sets that complete a word in a shell."""
    return [name for name in catalogue() if name.startswith(begun)]


Name = Annotated[
    str, typer.Argument(help="The name of a data set from `kfgn data list`.", autocompletion=names)
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", help="List the folders searched and the downloads that failed."),
]


@data_app.command("list")
@told
def list_data(as_json: AsJson = False) -> None:
    """List the data sets, and whether each is on this machine."""
    entries = catalogue().values()
    if as_json:
        print_json([_record(entry) for entry in entries])
        return
    table = Table("name", "content", "source", "here", box=None)
    for entry in entries:
        here = "[green]yes[/]" if entry.look() else "no"
        table.add_row(entry.name, entry.content, entry.way, here)
    console().print(table)
    typer.echo(
        '\nIn a spec: [data] name = "mnist"; for a UCI table, name = "uci", table = "yacht".'
    )


@data_app.command("get")
@told
def get_data(name: Name, as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Find or fetch a data set, and verify its checksum."""
    entry = entry_named(name)
    if entry.way == "generated":
        raise SpecError(f"{name} is generated; use: kfgn data make {name}.")
    try:
        _report(entry, as_json)
    except DataNotFound as error:
        raise (error if verbose else DataNotFound(error.brief)) from error.__cause__


@data_app.command("make")
@told
def make_data(name: Name, as_json: AsJson = False) -> None:
    """Generate a data set and cache it."""
    entry = entry_named(name)
    if entry.way != "generated":
        raise SpecError(f"{name} is not generated; use: kfgn data get {name}.")
    _report(entry, as_json)


def _report(entry: Entry, as_json: bool) -> None:
    path = entry.have()
    if as_json:
        print_json({"name": entry.name, "path": str(path)})
    else:
        typer.echo(path)


def _record(entry: Entry) -> dict[str, object]:
    path = entry.look()
    return {
        "name": entry.name,
        "content": entry.content,
        "way": entry.way,
        "spec": entry.spec,
        "path": None if path is None else str(path),
    }
