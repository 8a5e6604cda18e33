"""The table and the pictures of Figure 2."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from experiments.curves import RunCurve, write_curves
from experiments.figure2.plan import DECAYS, METHODS, RECIPES, second_order_name
from experiments.grids import DEFAULT_ADAM, name_of
from experiments.study_pictures import Line, adam_lines, draw_panels
from experiments.study_tables import markdown, rows_of

COLOURS = {"kfra": "#0b6fa4", "kfac": "#8a4f9e"}
STYLES = {"batch": "-", "average": "--"}
TITLES = {"paper": "the paper's recipe", "defaults": "the package's defaults"}


def lines(curves: Sequence[RunCurve], recipe: str) -> list[Line]:
    """Return the lines of one problem: KFRA and KFAC in a recipe, then Adam."""
    found = []
    for method in METHODS:
        for kind in DECAYS:
            name = second_order_name(method, recipe, kind)
            runs = tuple(curve for curve in curves if curve.setting == name)
            if runs:
                averaged = ", moving average" if kind == "average" else ""
                label = method.upper() + averaged
                found.append(Line(label, runs, COLOURS[method], STYLES[kind]))
    return found + adam_lines(curves, name_of(DEFAULT_ADAM))


def report(curves: Sequence[RunCurve], folder: Path, console: Console) -> list[Path]:
    """Write the curves, the table and a picture for each recipe; return the paths."""
    problems: dict[str, list[RunCurve]] = {}
    for curve in curves:
        problems.setdefault(curve.problem, []).append(curve)
    table = markdown(rows_of(curves))
    console.print(table, soft_wrap=True, highlight=False, markup=False)
    written = write_curves(curves, folder)
    path = folder / "table.md"
    path.write_text(table, encoding="utf-8")
    return [*written, path, *_pictures(problems, folder)]


def _pictures(problems: Mapping[str, Sequence[RunCurve]], folder: Path) -> list[Path]:
    drawn = []
    for recipe in RECIPES:
        ready = {name: runs for name, runs in problems.items() if lines(runs, recipe)}
        if ready:
            drawn.append(
                draw_panels(
                    ready,
                    lambda runs, recipe=recipe: lines(runs, recipe),  # type: ignore[misc]
                    folder / f"losses-{recipe}.png",
                    f"KFRA and KFAC with {TITLES[recipe]}, and Adam",
                )
            )
    return drawn
