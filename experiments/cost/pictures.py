"""The picture of the study: a column for each sweep; time, time beside KFRA's, and memory."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.cost.summary import Row, line_of
from experiments.cost.sweeps import SWEEPS
from experiments.cost.updates import GRADIENT, METHODS

COLOURS = {"kfra": "#0b6fa4", "kflr": "#3a7d44", "kfac": "#8a4f9e", GRADIENT: "#8c8c8c"}
MARKERS = {"kfra": "o", "kflr": "s", "kfac": "^", GRADIENT: "."}
LABELS = (
    "time of an update, fresh\nGEMMs",
    "time of an update\nover KFRA's",
    "peak memory, fresh\nMiB",
)
Pick = Callable[[Row], float]


def draw_cost(rows: Sequence[Row], path: Path) -> Path:
    """Draw time, its ratio to KFRA's, and peak memory against each size, on log scales.

    Parameters
    ----------
    rows : sequence of Row
        The updates.
    path : Path
        Where to write the PNG.

    Returns
    -------
    Path
        ``path``.
    """
    sweeps = [name for name in SWEEPS if any(row.sweep == name for row in rows)]
    figure = Figure(figsize=(3.4 * len(sweeps) + 0.5, 8.8), layout="constrained")
    panels = figure.subplots(3, len(sweeps), squeeze=False, sharey="row", sharex="col")
    for column, name in enumerate(sweeps):
        lines = {m: line_of(rows, name, m, "fresh") for m in (GRADIENT, *METHODS)}
        for method, line in lines.items():
            _points(panels[0, column], line, lambda r: r.gemms)
            _curve(panels[0, column], line, lambda r: r.formula, "--")
            _curve(panels[0, column], line, lambda r: r.package, ":")
            _points(panels[2, column], line, lambda r: r.memory)
            _curve(panels[2, column], line, lambda r: r.kept, "--")
            if method in ("kfac", "kflr"):
                _draw_ratios(panels[1, column], rows, name, method)
        panels[0, column].set_title(SWEEPS[name].title, fontsize=10)
        panels[1, column].axhline(1, color=COLOURS["kfra"], linewidth=1)
        panels[2, column].set_xlabel(name.partition("-")[0])
        ticks = [row.value for row in lines["kfra"]]
        for axes in panels[:, column]:
            axes.set(xscale="log", yscale="log")
            axes.set_xticks(ticks, [str(value) for value in ticks])
            axes.xaxis.minorticks_off()
            axes.grid(alpha=0.3, which="both")
    for axes, label in zip(panels[:, 0], LABELS, strict=True):
        axes.set_ylabel(label)
    ticks = (0.7, 1, 1.5, 2, 3, 5, 10, 20)
    panels[1, 0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panels[1, 0].yaxis.minorticks_off()
    _legend(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _points(axes: Axes, line: Sequence[Row], pick: Pick, hollow: bool = False) -> None:
    method = line[0].method
    axes.plot(
        [row.value for row in line],
        [pick(row) for row in line],
        color=COLOURS[method],
        marker=MARKERS[method],
        linestyle="none",
        fillstyle="none" if hollow else "full",
    )


def _curve(axes: Axes, line: Sequence[Row], pick: Pick, style: str) -> None:
    values = [row.value for row in line]
    axes.plot(
        values,
        [pick(row) for row in line],
        color=COLOURS[line[0].method],
        linestyle=style,
        linewidth=1,
    )


def _draw_ratios(axes: Axes, rows: Sequence[Row], sweep: str, method: str) -> None:
    """Draw times over those of KFRA: fresh as full marks, at the defaults as hollow ones."""
    for schedule in SWEEPS[sweep].schedules:
        base = {row.value: row for row in line_of(rows, sweep, "kfra", schedule)}
        line = line_of(rows, sweep, method, schedule)
        _points(axes, line, lambda r, b=base: r.gemms / b[r.value].gemms, schedule != "fresh")
        if schedule == "fresh":
            _curve(axes, line, lambda r, b=base: r.formula / b[r.value].formula, "--")
            _curve(axes, line, lambda r, b=base: r.package / b[r.value].package, ":")


def _legend(figure: Figure) -> None:
    names = {**{method: method.upper() for method in METHODS}, GRADIENT: "gradient step"}
    handles = [
        Line2D([], [], color=COLOURS[m], marker=MARKERS[m], linestyle="none", label=label)
        for m, label in names.items()
    ]
    handles.append(
        Line2D(
            [],
            [],
            color="black",
            marker="o",
            fillstyle="none",
            linestyle="none",
            label="at the defaults",
        )
    )
    for style, label in (("--", "C.4's counts; to be kept"), (":", "the package's prediction")):
        handles.append(Line2D([], [], color="black", linestyle=style, linewidth=1, label=label))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
