"""What the commands of the studies share: their options, and the way from runs to files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.curves import RunCurve, read_curves
from experiments.defaults.__main__ import chosen
from experiments.stages import SEEDS, Plan, run_stages
from experiments.study_report import SecondOrder, write_report
from experiments.update_times import measure, read_times, rescaled, write_times

ALL_SEEDS = ",".join(map(str, SEEDS))
Seeds = Annotated[str, typer.Option(help="Of the settings in the picture, as 0,1,2.")]
Parts = Annotated[
    str,
    typer.Option(help="What to train: a recipe each, adam, others; separated by commas."),
]
Output = Annotated[Path, typer.Option(help="Folder of runs and results.")]
Train = Annotated[bool, typer.Option(help="Or only tabulate and draw what is there.")]
Time = Annotated[
    bool, typer.Option(help="Measure the time of an update of every setting in alternation, too.")
]
Kept = Annotated[
    Path | None, typer.Option(help="Draw from the curves kept in this folder instead.")
]


def numbers(seeds: str) -> tuple[int, ...]:
    """Read seeds separated by commas."""
    try:
        return tuple(int(part) for part in seeds.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"{seeds!r} is no list of numbers", param_hint="--seeds"
        ) from error


def run_study(
    plans: Sequence[Plan],
    parts: str,
    lines: SecondOrder,
    output: Path,
    train: bool,
    kept: Path | None,
    time: bool,
) -> None:
    """Train the missing runs of all panels; write curves, table and pictures.

    If the times of updates were measured, the seconds of all runs are scaled to them.

    Parameters
    ----------
    plans : sequence of Plan
        The panels.
    parts : str
        Which runs to train, separated by commas; empty for all.
    lines : callable
        Runs of a panel, and a recipe, to the lines of the second-order methods.
    output : Path
        Has the runs, and receives what is written.
    train : bool
        Whether to train, or only to read.
    kept : Path or None
        A folder with curves, to read in place of runs.
    time : bool
        Whether to measure the time of an update of every setting.
    """
    console = Console()
    curves: list[RunCurve] = [] if kept is None else read_curves(kept)
    if kept is None:
        known = plans[0].parts()
        wanted = chosen(parts or ",".join(known), known, "--parts")
        for plan in plans:
            curves += run_stages(plan, wanted, output / "runs", console, train)
    if time:
        tasks = (each for plan in plans for each in plan.all_kinds())
        write_times(measure(tasks, console), output)
    if not curves:
        console.print("There are no complete runs.")
        return
    curves = rescaled(curves, read_times(output if kept is None else kept))
    for path in write_report(curves, lines, output, console):
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)
