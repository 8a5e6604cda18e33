"""``python -m experiments.cost``: measure what is missing, then tabulate and draw."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import kfgn_graph as kfgn
from experiments.benchmarks.__main__ import chosen
from experiments.cost.pictures import draw_cost
from experiments.cost.study import measure_points
from experiments.cost.summary import Row, markdown, read_rows, rows_of
from experiments.cost.sweeps import SWEEPS, points_of
from experiments.records import write_json

FOLDER = Path(__file__).resolve().parent
RUNS = FOLDER.parent / "output" / "cost" / "runs"
ROUNDS = 5


def report(rows: list[Row], output: Path) -> list[Path]:
    """Write the tables and the picture, and return the paths."""
    output.mkdir(parents=True, exist_ok=True)
    table = output / "table.md"
    table.write_text(markdown(rows), encoding="utf-8")
    return [table, draw_cost(rows, output / "cost.png")]


def main(
    sweeps: Annotated[
        str, typer.Option(help=f"Sizes that vary, of {', '.join(SWEEPS)}, separated by commas.")
    ] = ",".join(SWEEPS),
    points: Annotated[
        int, typer.Option(help="Sizes of a sweep, the smallest first; 0 for all.", min=0)
    ] = 0,
    rounds: Annotated[
        int, typer.Option(help="Timed samples of each update; the median counts.", min=2)
    ] = ROUNDS,
    fresh: Annotated[bool, typer.Option(help="Measure again what is there.")] = False,
    measure: Annotated[
        bool, typer.Option(help="Or only tabulate and draw the results.json of the output.")
    ] = True,
    runs: Annotated[Path, typer.Option(help="Folder with a file for each network.")] = RUNS,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = FOLDER,
) -> None:
    """Predict and measure time and memory of an update of KFRA, KFAC and KFLR.

    Each network is measured in one process, on one thread, the methods in turn.

    A network that has a file is not measured again: an interrupted study continues.
    """
    console = Console()
    results = output / "results.json"
    if measure:
        wanted = list(points_of(chosen(sweeps, SWEEPS, "--sweeps"), points or None))
        rows = rows_of(measure_points(wanted, rounds, runs, console, fresh))
        kept = {"rounds": rounds, "rows": [asdict(row) for row in rows]}
        write_json(results, {**kept, "machine": kfgn.machine_record()})
    elif results.is_file():
        rows = read_rows(results)
    else:
        raise typer.BadParameter(f"there is no {results}", param_hint="--no-measure")
    console.print(markdown(rows), soft_wrap=True, highlight=False, markup=False)
    for path in [results, *report(rows, output)]:
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    typer.run(main)
