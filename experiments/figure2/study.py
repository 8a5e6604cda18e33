"""Train what is missing of Figure 2, in the order of its stages."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments.curves import RunCurve, complete_curves
from experiments.figure2.plan import OTHERS, RECIPES, Plan
from experiments.studies import Task, run_missing

PARTS = (*RECIPES, "adam", "others")
"""The parts of the study: second-order runs by recipe, Adam's grid, the other rules' grid."""


def run_study(
    plan: Plan, parts: Sequence[str], folder: Path, console: Console, train: bool = True
) -> list[RunCurve]:
    """Train the runs of a panel that are missing; return the curves of all complete ones.

    Parameters
    ----------
    plan : Plan
        The panel.
    parts : sequence of str
        Of ``PARTS``; which runs to train.
    folder : Path
        Where the runs' folders are.
    console : rich.console.Console
        Shows the progress.
    train : bool
        Whether to train, or only to read.
    """

    def stage(tasks: list[Task], wanted: bool) -> list[Task]:
        if train and wanted and tasks:
            run_missing(tasks, folder, console)
        return tasks

    tasks = list(plan.second_order())
    stage([each for each in tasks if _recipe(each) in parts], bool(set(parts) & set(RECIPES)))
    grid = stage(list(plan.first_stage()), "adam" in parts)
    grid += stage(list(plan.second_stage(complete_curves(grid, folder))), "adam" in parts)
    grid += stage(list(plan.others()), "others" in parts)
    repeated = list(plan.repeated(grid, complete_curves(grid, folder)))
    stage([each for each in repeated if _part(each) in parts], True)
    return complete_curves([*tasks, *grid, *repeated], folder)


def _recipe(each: Task) -> str:
    return each.setting.split("-")[1]


def _part(each: Task) -> str:
    return "others" if each.setting.split("-")[0] in OTHERS else "adam"
