"""``kfgn compare``: a table that compares runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from kfgn_graph.program.cli.common import AsJson, RunArguments, console, escape, print_json, told
from kfgn_graph.program.comparison import (
    Summary,
    columns,
    comparable,
    differences,
    labels,
    setting_text,
    summarise,
)
from kfgn_graph.program.comparison_picture import draw_comparison
from kfgn_graph.program.runs import read_run

Picture = Annotated[
    Path | None,
    typer.Option(
        "--picture",
        metavar="FILE",
        help="Draw the loss against seconds and updates to a .png, .svg or .pdf file.",
    ),
]
Window = Annotated[
    int,
    typer.Option("--window", min=1, help="For --picture: the updates that a point averages."),
]


@told
def compare(
    runs: RunArguments, picture: Picture = None, window: Window = 10, as_json: AsJson = False
) -> None:
    """Compare the losses and times of runs, and list the settings that differ."""
    records = [read_run(path) for path in runs]
    names = labels(runs)
    if picture is not None:
        draw_comparison(records, names, picture, window)
    found = [summarise(record, name) for record, name in zip(records, names, strict=True)]
    alike, differing = comparable(records), differences(records)
    if as_json:
        rows = [summary.as_dict() for summary in found]
        print_json({"runs": rows, "comparable": alike, "differences": differing})
        return
    out = console()
    out.print(_measures(found, alike))
    if not alike:
        out.print(
            "The runs have different data or kinds of loss, so their losses cannot be compared."
        )
    if differing:
        out.print("", _settings(names, differing), sep="\n")


def _measures(found: list[Summary], alike: bool) -> Table:
    table = Table(box=None)
    table.add_column("run", no_wrap=True)
    rows = [[escape(summary.run)] for summary in found]
    for column in columns(found, alike):
        table.add_column(column.title, justify="right", no_wrap=True)
        for row, text, best in zip(rows, column.cells, column.best, strict=True):
            row.append(f"[bold]{text}[/]" if best else text)
    for row in rows:
        table.add_row(*row)
    return table


def _settings(names: list[str], differing: dict[str, list[Any]]) -> Table:
    table = Table(box=None)
    table.add_column("setting", no_wrap=True)
    for name in names:
        table.add_column(escape(name), overflow="fold")
    for key, values in differing.items():
        table.add_row(escape(key), *(escape(setting_text(value)) for value in values))
    return table
