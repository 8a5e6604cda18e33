"""Pictures of a study: the loss against seconds and against updates, a column a problem."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.curves import RunCurve, mean_curve, ranked

BEST = (10, 20)
"""Numbers of Adam's best settings that the paper averages."""
ADAM, FADED, DEFAULT = "#d1662a", ("#e0a070", "#eccdb0"), "#8c8c8c"


@dataclass(frozen=True)
class Line:
    """A line of the picture.

    Attributes
    ----------
    label : str
        For the legend.
    curves : tuple of RunCurve
        The runs that it is the mean of.
    colour, style : str
        As Matplotlib takes them.
    """

    label: str
    curves: tuple[RunCurve, ...]
    colour: str
    style: str = "-"


def adam_lines(curves: Sequence[RunCurve], default: str) -> list[Line]:
    """Return Adam's lines on one problem: its best, the means of the best ten and twenty, default.

    A grid of fewer settings has the mean of those it has. The means are over the settings of the
    first seed, the other lines over all seeds. Runs that diverged are in no mean.

    Parameters
    ----------
    curves : sequence of RunCurve
        All runs of the problem.
    default : str
        Name of Adam's default setting, which is not part of the grid.
    """
    adam = [curve for curve in curves if curve.rule == "adam"]
    seed = min((curve.seed for curve in adam), default=0)
    grid = [
        curve
        for curve in ranked(adam)
        if curve.seed == seed and curve.setting != default and np.isfinite(curve.final)
    ]
    lines = []
    if grid:
        best = grid[0].setting
        lines.append(Line("Adam, best", _of(adam, best), ADAM))
        counts = dict.fromkeys(min(count, len(grid)) for count in BEST)
        for count, colour in zip(counts, FADED, strict=False):
            lines.append(Line(f"Adam, mean of best {count}", tuple(grid[:count]), colour))
    if found := _of(adam, default):
        lines.append(Line("Adam, default", found, DEFAULT))
    return lines


def _of(curves: Sequence[RunCurve], setting: str) -> tuple[RunCurve, ...]:
    return tuple(curve for curve in curves if curve.setting == setting)


def draw_panels(
    problems: Mapping[str, Sequence[RunCurve]],
    lines_of: Callable[[Sequence[RunCurve]], Sequence[Line]],
    path: Path,
    title: str,
) -> Path:
    """Draw seconds above, updates below, a column for each problem.

    Parameters
    ----------
    problems : mapping
        Name of a problem to its runs.
    lines_of : callable
        Runs of a problem to the lines that are drawn.
    path : Path
        Where to write the PNG.
    title : str
        Of the picture.

    Returns
    -------
    Path
        ``path``.
    """
    figure = Figure(figsize=(max(9.0, 3.9 * len(problems) + 0.6), 6.6), layout="constrained")
    panels = figure.subplots(2, len(problems), squeeze=False)
    labels = {}
    for column, (name, curves) in enumerate(problems.items()):
        for line in lines_of(curves):
            _draw_line(panels[0, column], line, by_seconds=True)
            labels[line.label] = _draw_line(panels[1, column], line, by_seconds=False)
        panels[0, column].set(title=name, xlabel="seconds of updates")
        panels[1, column].set(xlabel="updates")
        for axes in panels[:, column]:
            axes.set(yscale="log", xscale="log")
            axes.grid(alpha=0.3, which="both")
    above = any(curves[0].floor > 0 for curves in problems.values() if curves)
    figure.supylabel("batch loss" + (" above the least possible" if above else ""))
    figure.legend(
        labels.values(), labels.keys(), loc="outside lower center", ncols=4, fontsize="small"
    )
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def _draw_line(axes: Axes, line: Line, by_seconds: bool) -> object:
    """Draw a line and the range over its seeds, if its runs are of one setting."""
    seconds, losses = mean_curve(line.curves)
    at = seconds if by_seconds else np.arange(1, len(losses) + 1)
    floor = line.curves[0].floor
    (drawn,) = axes.plot(at, losses - floor, color=line.colour, linestyle=line.style, lw=1.4)
    return drawn
