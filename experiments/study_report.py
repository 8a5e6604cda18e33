"""The files that a study writes: curves, runs, a table and a picture for each recipe."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from experiments.curves import RunCurve, write_curves
from experiments.grids import DEFAULT_ADAM, name_of
from experiments.stages import RECIPES
from experiments.study_pictures import Line, adam_lines, draw_panels
from experiments.study_tables import markdown, rows_of

TITLES = {"paper": "the paper's recipe", "defaults": "the package's defaults"}
SecondOrder = Callable[[Sequence[RunCurve], str], list[Line]]


def all_lines(curves: Sequence[RunCurve], recipe: str, second_order: SecondOrder) -> list[Line]:
    """Return the lines of one panel: the second-order methods in a recipe, then Adam."""
    return second_order(curves, recipe) + adam_lines(curves, name_of(DEFAULT_ADAM))


def write_report(
    curves: Sequence[RunCurve], second_order: SecondOrder, folder: Path, console: Console
) -> list[Path]:
    """Write the curves, the runs, the table and the pictures.

    Parameters
    ----------
    curves : sequence of RunCurve
        All complete runs.
    second_order : callable
        Runs of a panel, and a recipe, to the lines of the second-order methods.
    folder : Path
        Where to write.
    console : rich.console.Console
        Shows the table.

    Returns
    -------
    list of Path
        What was written.
    """
    panels: dict[str, list[RunCurve]] = {}
    for curve in curves:
        panels.setdefault(curve.problem, []).append(curve)
    table = markdown(rows_of(curves))
    console.print(table, soft_wrap=True, highlight=False, markup=False)
    path = folder / "table.md"
    written = [*write_curves(curves, folder), path]
    path.write_text(table, encoding="utf-8")
    for recipe in RECIPES:
        lines_of = partial(all_lines, recipe=recipe, second_order=second_order)
        ready = {name: runs for name, runs in panels.items() if lines_of(runs)}
        if ready:
            adam = any(curve.rule == "adam" for curve in curves)
            title = f"Second-order methods with {TITLES[recipe]}{', and Adam' if adam else ''}"
            written.append(draw_panels(ready, lines_of, folder / f"losses-{recipe}.png", title))
    return written
