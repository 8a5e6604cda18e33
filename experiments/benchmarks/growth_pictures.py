"""The picture of growth: a column an axis, time above memory, on log scales."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmarks.series import Growth, Series

COLOURS = {"kfra": "#0b6fa4", "kflr": "#3a7d44", "kfac": "#8a4f9e", "adam": "#d1662a"}


def draw_growth(series: Sequence[Series], path: Path) -> Path:
    """Draw what was measured as points, and what was predicted as a line through the last.

    Parameters
    ----------
    series : sequence of Series
        Those of an axis one after the other.
    path : Path
        Where to write the PNG.

    Returns
    -------
    Path
        ``path``.
    """
    axes = [(name, list(group)) for name, group in groupby(series, lambda one: one.axis)]
    figure = Figure(figsize=(3.6 * len(axes) + 0.4, 6.4), layout="constrained")
    panels = figure.subplots(2, len(axes), squeeze=False)
    for panel in panels.flat:
        panel.set(xscale="log", yscale="log")
        panel.grid(alpha=0.3, which="both")
    for column, (name, group) in enumerate(axes):
        for one in group:
            _draw(panels[0, column], one, one.time)
            _draw(panels[1, column], one, one.memory)
        panels[1, column].set_xlabel(name)
    for panel in panels.flat:
        panel.legend(fontsize=7, title="fitted (predicted) exponent", title_fontsize=7)
    panels[0, 0].set_ylabel("one update, in GEMMs")
    panels[1, 0].set_ylabel("memory grown by, MiB")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def _draw(axes: Axes, series: Series, growth: Growth) -> None:
    colour = COLOURS[series.method]
    label = f"{series.method}: {growth.exponent:.2f} ({growth.predicted_exponent:.2f})"
    axes.plot(series.values, growth.measured, "o", color=colour, label=label)
    axes.plot(series.values, growth.scaled, "--", color=colour, linewidth=1)
    axes.set_xticks(series.values, [str(value) for value in series.values])
    axes.xaxis.minorticks_off()
