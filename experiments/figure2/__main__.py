"""``python -m experiments.figure2``: train what is missing, then tabulate and draw everything."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.defaults.__main__ import chosen
from experiments.figure2.plan import PROBLEMS, Figure2Plan, lines
from experiments.study_command import (
    ALL_SEEDS,
    Kept,
    Output,
    Parts,
    Seeds,
    Time,
    Train,
    numbers,
    run_study,
)

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
    seeds: Seeds = ALL_SEEDS,
    parts: Parts = "",
    output: Output = OUTPUT,
    train: Train = True,
    kept: Kept = None,
    time: Time = False,
) -> None:
    """Train the runs of Figure 2 that are missing; write curves, table and pictures.

    A study that was stopped goes on where it was. Its runs are folders of `kfgn train`.
    """
    plans = [
        Figure2Plan(
            problem=PROBLEMS[name],
            budget=PROBLEMS[name].budget if budget is None else budget,
            seeds=numbers(seeds),
        )
        for name in chosen(problems, PROBLEMS, "--problems")
    ]
    run_study(plans, parts, lines, output, train, kept, time)


if __name__ == "__main__":
    typer.run(main)
