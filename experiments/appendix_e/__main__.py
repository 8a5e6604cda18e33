"""``python -m experiments.appendix_e``: check the statements, tabulate and draw the counts."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

import kfgn_graph as kfgn
from experiments.appendix_e.pictures import draw_statements
from experiments.appendix_e.study import (
    RANK_CASES,
    Record,
    Size,
    climb_cases,
    climbs,
    ranks,
    sign_cases,
    signs,
)
from experiments.appendix_e.summary import markdown
from experiments.records import write_json

FOLDER = Path(__file__).resolve().parent
DEFAULTS = Size()


def run_study(size: Size, console: Console) -> dict[str, list[Record]]:
    """Do all of it, with a progress bar for each statement."""
    parts: tuple[tuple[str, str, Callable[[Size], Iterator[Record]], int], ...] = (
        ("signs", "(i) signs of curvature", signs, len(sign_cases(size))),
        ("climbs", "(ii) gradient ascent", climbs, len(climb_cases())),
        ("ranks", "(iii) ranks", ranks, len(RANK_CASES)),
    )
    return {
        key: list(track(part(size), title, total=total, console=console))
        for key, title, part, total in parts
    }


def main(
    points: Annotated[
        int, typer.Option(help="Random networks for each activation, loss and depth.", min=1)
    ] = DEFAULTS.points,
    starts: Annotated[int, typer.Option(help="Ascents of each kind.", min=1)] = DEFAULTS.starts,
    networks: Annotated[
        int, typer.Option(help="Random networks for each kind of rank.", min=1)
    ] = DEFAULTS.networks,
    seed: Annotated[int, typer.Option(help="Of all of it.", min=0)] = DEFAULTS.seed,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = FOLDER,
) -> None:
    """Check the statements of Appendix E on many small networks; write table and picture."""
    console = Console()
    size = Size(points=points, starts=starts, networks=networks, seed=seed)
    results = run_study(size, console)
    tables = markdown(results)
    console.print(tables, soft_wrap=True, highlight=False, markup=False)
    output.mkdir(parents=True, exist_ok=True)
    written = output / "table.md"
    written.write_text(tables, encoding="utf-8")
    record = {"size": asdict(size), **results, "machine": kfgn.machine_record()}
    paths = (
        written,
        write_json(output / "results.json", record),
        draw_statements(results, output / "statements.png"),
    )
    for path in paths:
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    typer.run(main)
