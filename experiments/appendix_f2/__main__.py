"""``python -m experiments.appendix_f2``: measure the missing points, then tabulate and draw."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import kfgn_graph as kfgn
from experiments.appendix_f2.cases import CASES, Case
from experiments.appendix_f2.pictures import draw_order, draw_parts, draw_runs
from experiments.appendix_f2.study import results, run_missing, training_loss
from experiments.appendix_f2.summary import (
    Row,
    read_rows,
    summarise,
    summarise_layers,
    write_rows,
)
from experiments.appendix_f2.tables import markdown
from experiments.defaults.__main__ import chosen
from experiments.records import write_json

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "appendix_f2"


def write_results(cases: Sequence[Case], folder: Path) -> list[Path]:
    """Write the means of all measured points, the settings, and the accuracy of the solves."""
    found = list(results(cases, folder))
    if not found:
        return []
    measured = {task.case.name for task, _ in found}
    data = {case.name: case.load() for case in cases if case.name in measured}
    solved = [solution for _, point in found for solution in point["solutions"]]
    record = {
        "cases": [asdict(case) for case in cases],
        "points": [
            {
                "case": task.case.name,
                "activation": task.activation,
                "run": task.run,
                "updates": task.updates,
                "loss": training_loss(task, folder, data[task.case.name]),
                "mean eigenvalue": point["unit"],
                "lambda of the run": point["damping"],
            }
            for task, point in found
        ],
        "largest error bound": max(max(s["full_error"], s["block_error"]) for s in solved),
        "machine": kfgn.machine_record(),
    }
    return [
        write_rows(summarise(found), folder / "alignment.csv"),
        write_rows(summarise_layers(found), folder / "layers.csv"),
        write_json(folder / "study.json", record),
    ]


def draw(rows: Sequence[Row], folder: Path, console: Console) -> list[Path]:
    """Write the tables and the pictures of the means."""
    tables = markdown(rows)
    console.print(tables, soft_wrap=True, highlight=False, markup=False)
    written = folder / "table.md"
    folder.mkdir(parents=True, exist_ok=True)
    written.write_text(tables, encoding="utf-8")
    return [
        written,
        draw_runs(rows, folder / "runs.png"),
        draw_order(rows, folder / "order.png"),
        draw_parts(rows, folder / "parts.png"),
    ]


def main(
    cases: Annotated[str, typer.Option(help="Networks, separated by commas.")] = ",".join(CASES),
    output: Annotated[Path, typer.Option(help="Folder of points and results.")] = OUTPUT,
    measure: Annotated[bool, typer.Option(help="Or only tabulate and draw what is there.")] = True,
    kept: Annotated[
        Path | None, typer.Option(help="Draw from the alignment.csv of this folder instead.")
    ] = None,
) -> None:
    """Compare the updates of KFRA, KFLR and KFAC with the exact Gauss-Newton update.

    A study that was stopped goes on where it was: each point of a training run is a file.
    """
    console = Console()
    named = [CASES[name] for name in chosen(cases, CASES, "--cases")]
    written: list[Path] = []
    if kept is None:
        if measure:
            try:
                run_missing(named, output, console)
            except (kfgn.DataNotFound, kfgn.DataCorrupt) as error:
                console.print(str(error), style="red", markup=False)
                raise typer.Exit(1) from error
        written = write_results(named, output)
    table = (kept or output) / "alignment.csv"
    if not table.is_file():
        console.print("No point has been measured.")
        return
    for path in [*written, *draw(read_rows(table), output, console)]:
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    typer.run(main)
