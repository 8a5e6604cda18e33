"""``python -m experiments.figure3``: train what is missing, then tabulate and draw everything."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.defaults.__main__ import chosen
from experiments.figure3.plan import BUDGET, DTYPES, Figure3Plan, lines
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

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "figure3"


def main(
    dtypes: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(DTYPES),
    budget: Annotated[
        float, typer.Option(help="Share of the paper's updates and grid.", min=1e-4, max=1.0)
    ] = BUDGET,
    seeds: Seeds = ALL_SEEDS,
    parts: Parts = "",
    output: Output = OUTPUT,
    train: Train = True,
    kept: Kept = None,
    time: Time = False,
) -> None:
    """Train the runs of Figure 3 that are missing; write curves, table and pictures.

    A study that was stopped goes on where it was. Its runs are folders of `kfgn train`.
    """
    plans = [
        Figure3Plan(dtype=dtype, budget=budget, seeds=numbers(seeds))
        for dtype in chosen(dtypes, DTYPES, "--dtypes")
    ]
    run_study(plans, parts, lines, output, train, kept, time)


if __name__ == "__main__":
    typer.run(main)
