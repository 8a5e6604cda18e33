"""``python -m experiments.figure2``: train what is missing, then tabulate and draw everything."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.curves import read_curves
from experiments.defaults.__main__ import chosen
from experiments.figure2.plan import PROBLEMS, Figure2Plan, lines
from experiments.stages import PARTS, SEEDS, run_stages
from experiments.study_report import write_report

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "figure2"


def main(
    problems: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(PROBLEMS),
    budget: Annotated[
        float | None,
        typer.Option(
            help="Share of the paper's updates and grid, by default 0.1; 0.01 for faces.",
            min=1e-4,
            max=1.0,
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Of the settings in the picture, as 0,1,2.")] = (
        ",".join(map(str, SEEDS))
    ),
    parts: Annotated[str, typer.Option(help=f"What to train, of {', '.join(PARTS)}.")] = ",".join(
        PARTS
    ),
    output: Annotated[Path, typer.Option(help="Folder of runs and results.")] = OUTPUT,
    train: Annotated[bool, typer.Option(help="Or only tabulate and draw what is there.")] = True,
    kept: Annotated[
        Path | None, typer.Option(help="Draw from the curves kept in this folder instead.")
    ] = None,
) -> None:
    """Train the runs of Figure 2 that are missing; write curves, table and pictures.

    A study that was stopped goes on where it was. Its runs are folders of `kfgn train`.
    """
    console = Console()
    if kept is not None:
        curves = read_curves(kept)
    else:
        named = chosen(problems, PROBLEMS, "--problems")
        wanted = chosen(parts, PARTS, "--parts")
        numbers = tuple(int(part) for part in seeds.split(","))
        curves = []
        for name in named:
            problem = PROBLEMS[name]
            plan = Figure2Plan(
                problem=problem, budget=problem.budget if budget is None else budget, seeds=numbers
            )
            curves += run_stages(plan, wanted, output / "runs", console, train)
    if not curves:
        console.print("There are no complete runs.")
        return
    for path in write_report(curves, lines, output, console):
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    typer.run(main)
