"""The study's pictures: one panel a problem, the loss above its floor."""

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.defaults.summary import Row

COLOURS = {
    "kfra": "#0b6fa4",
    "kflr": "#3a7d44",
    "kfac": "#8a4f9e",
    "adam": "#d1662a",
    "nesterov": "#8c8c8c",
}
COLUMNS = 4


def draw_panels(rows: Sequence[Row], unit: Literal["updates", "seconds"], path: Path) -> Path:
    """Draw each method's mean training-set loss over seeds, and its range, on log scales.

    Parameters
    ----------
    rows : sequence of Row
        Those of a problem one after the other.
    unit : {"updates", "seconds"}
        What the loss is drawn against.
    path : Path
        Where to write the PNG.

    Returns
    -------
    Path
        ``path``.
    """
    problems = [(name, list(group)) for name, group in groupby(rows, lambda row: row.problem)]
    columns = min(COLUMNS, len(problems))
    lines = math.ceil(len(problems) / columns)
    figure = Figure(figsize=(3.4 * columns + 0.6, 2.9 * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, (name, group) in zip(panels, problems, strict=False):
        for row in group:
            _draw_row(axes, row, unit)
        axes.set(title=name, yscale="log")
        axes.grid(alpha=0.3, which="both")
    for axes in panels[len(problems) :]:
        axes.set_axis_off()
    labels = {
        label: handle
        for axes in panels[: len(problems)]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(labels.values(), labels.keys(), loc="outside upper center", ncols=len(labels))
    figure.supxlabel("updates" if unit == "updates" else "seconds of stepping")
    figure.supylabel("training loss above its floor")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def _draw_row(axes: Axes, row: Row, unit: str) -> None:
    """Draw a method's runs; those that ended early are cut to the shortest."""
    curves = [record["run"]["evaluations"] for record in row.records]
    length = min(map(len, curves))
    at = np.mean([[part[unit] for part in curve[:length]] for curve in curves], axis=0)
    losses = np.array([[part["loss"] for part in curve[:length]] for curve in curves]) - row.floor
    colour = COLOURS[row.method]
    axes.plot(
        at,
        losses.mean(axis=0),
        color=colour,
        linewidth=1.6 if row.rate is None else 1.1,
        linestyle="-" if row.rate is None else "--",
        label=row.method.upper() if row.rate is None else f"{row.method.capitalize()}, best rate",
    )
    axes.fill_between(at, losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.15, lw=0)
