"""``python -m experiments.support``: the table of the networks that the compiler reads."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import kfgn_graph as kfgn
from experiments.records import write_json
from experiments.support.catalogue import SECTIONS, Entry, catalogue, missing_packages
from experiments.support.running import examined
from experiments.support.table import Row, error, exact, kfra, markdown, read, trained

FOLDER = Path(__file__).resolve().parent


def chosen(names: list[str], sections: list[str]) -> list[Entry]:
    """Return the networks of some names and sections; all if none is given."""
    networks = catalogue()
    unknown = [name for name in names if name not in networks]
    if unknown:
        raise typer.BadParameter(f"no network has the name {unknown[0]!r}")
    return [
        entry
        for entry in networks.values()
        if (not names or entry.name in names) and (not sections or entry.section in sections)
    ]


def kept_rows(path: Path) -> dict[str, Row]:
    """Return the rows of an earlier run, by name."""
    if not path.exists():
        return {}
    return {row["name"]: row for row in json.loads(path.read_text("utf-8"))["rows"]}


def line(row: Row) -> str:
    """Return a row on one line for a terminal."""
    parts = [part(row).replace("*", "") or "-" for part in (read, exact, trained, kfra)]
    return f"{row['name']:30} {' | '.join(parts)}  {error(row)[:120]}"


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Networks; all if none is given.")
    ] = None,
    section: Annotated[list[str] | None, typer.Option(help="Sections to run.")] = None,
    backend: Annotated[str, typer.Option(help="Where to train; '' trains not at all.")] = "jax",
    seconds: Annotated[float, typer.Option(help="The time for a network.", min=1)] = 600.0,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = FOLDER,
) -> None:
    """Put the networks through the compiler; replace their rows in the table."""
    console = Console()
    for package in sorted(missing_packages()):
        console.print(f"{package} is not installed: its networks keep their earlier rows.")
    path = output / "support.json"
    rows = kept_rows(path)
    for row in examined(chosen(names or [], section or []), backend, seconds):
        rows[row["name"]] = row
        console.print(line(row), soft_wrap=True, highlight=False, markup=False)
        _write(path, rows)
    console.print(f"Wrote {path} and {output / 'table.md'}", soft_wrap=True, highlight=False)


def _write(path: Path, rows: dict[str, Row]) -> None:
    """Write all rows in the order of the catalogue, those of missing packages at their end."""
    order = {name: k for k, name in enumerate(catalogue())}

    ordered = sorted(
        rows.values(),
        key=lambda row: (SECTIONS.index(row["section"]), order.get(row["name"], len(order))),
    )
    write_json(path, {"rows": ordered, "machine": kfgn.machine_record()})
    path.with_name("table.md").write_text(markdown(ordered), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
