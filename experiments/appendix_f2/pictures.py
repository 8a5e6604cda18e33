"""The pictures of the study: cosines along the runs, the order of the methods, the causes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.appendix_f2.measure import BLOCK, GRADIENT
from experiments.appendix_f2.summary import PARTS, Row, directions_of, middle_damping, part_angles

COLOURS = {
    BLOCK: "#222222",
    "KFLR": "#3a7d44",
    "KFRA": "#0b6fa4",
    "KFAC 1": "#8a4f9e",
    "KFAC 10": "#b98ac6",
    "KFAC 100": "#dcc5e2",
    GRADIENT: "#8c8c8c",
}
LABELS = {
    BLOCK: "exact, layer by layer",
    "KFAC 1": "KFAC, 1 sample",
    "KFAC 10": "KFAC, 10 samples",
    "KFAC 100": "KFAC, 100 samples",
}
PART_COLOURS = ("#222222", "#3a7d44", "#0b6fa4", "#8a4f9e", "#b98ac6")
FACTORED = "#d1662a"
COSINE = "cosine with the exact update"


def networks(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the networks and activations, in the order of the rows."""
    return list(dict.fromkeys((row.case, row.activation) for row in rows))


def draw_runs(rows: Sequence[Row], path: Path) -> Path:
    """Draw the cosines along the runs, on the largest batch with the middle damping."""
    rows = middle_damping(rows)
    drawn = networks(rows)
    runs = list(dict.fromkeys(row.run for row in rows))
    figure = Figure(figsize=(3.3 * len(drawn) + 0.6, 2.7 * len(runs) + 0.7), layout="constrained")
    panels = figure.subplots(len(runs), len(drawn), squeeze=False, sharey=True)
    for line, run in zip(panels, runs, strict=True):
        for axes, name in zip(line, drawn, strict=True):
            chosen = [r for r in rows if (r.case, r.activation, r.run) == (*name, run)]
            if not chosen:
                axes.set_axis_off()
                continue
            axes.set_title(f"{name[0]}, {name[1]}; trained by {run}", fontsize=10)
            _draw_lines(axes, chosen)
            axes.set_xscale("symlog", linthresh=10)
            ticks = sorted({row.updates for row in chosen})
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.set_xlabel("updates before the comparison")
        line[0].set_ylabel(COSINE)
    return _finish(figure, list(panels.flat), path)


def points_of(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Return runs and updates in the order of the rows."""
    return list(dict.fromkeys((row.run, row.updates) for row in rows))


def draw_order(rows: Sequence[Row], path: Path) -> Path:
    """Draw the cosine of KFRA minus that of KFAC at every point: above 0 the paper's order holds.

    A row of panels for each network, a column for each damping.
    """
    several = [name for name in networks(rows) if len(_dampings(rows, name)) > 1]
    columns = max(len(_dampings(rows, name)) for name in several)
    figure = Figure(figsize=(3.6 * columns + 0.6, 2.3 * len(several) + 0.8), layout="constrained")
    panels = figure.subplots(len(several), columns, squeeze=False)
    for line, name in zip(panels, several, strict=True):
        for axes, ratio in zip(line, _dampings(rows, name), strict=False):
            chosen = [r for r in rows if (r.case, r.activation, r.ratio) == (*name, ratio)]
            _draw_leads(axes, chosen)
            title = f"{name[0]}, {name[1]}; lambda = {ratio:g} x mean eigenvalue"
            axes.set_title(title, fontsize=8.5)
        line[0].set_ylabel("cosine of KFRA - that of KFAC")
    return _finish(figure, list(panels.flat), path, columns=4)


def _dampings(rows: Sequence[Row], network: tuple[str, str]) -> list[float]:
    return sorted({row.ratio for row in rows if (row.case, row.activation) == network})


def _draw_leads(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the lead of KFRA over KFAC: samples, the extreme batch sizes, factored damping."""
    points = points_of(rows)
    sizes = sorted({row.batch for row in rows})
    small, large = sizes[0], sizes[-1]
    lines = (
        ("KFAC 1", large, "exact", "-", COLOURS["KFAC 1"], "1 sample, large batch"),
        ("KFAC 1", small, "exact", ":", COLOURS["KFAC 1"], "1 sample, small batch"),
        ("KFAC 10", large, "exact", "-", COLOURS["KFAC 10"], "10 samples, large batch"),
        ("KFAC 1", large, "factored", "--", FACTORED, "1 sample, large batch, factored damping"),
    )
    for name, size, kind, style, colour, label in lines:
        chosen = [r for r in rows if (r.direction, r.batch, r.damped) == (name, size, kind)]
        axes.errorbar(
            [points.index((row.run, row.updates)) for row in chosen],
            [row.lead for row in chosen],
            yerr=[0 if np.isnan(row.lead_sd) else row.lead_sd for row in chosen],
            linestyle=style,
            marker=".",
            capsize=2,
            color=colour,
            label=label,
        )
    _mark_points(axes, points)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_yscale("symlog", linthresh=0.05)
    axes.set_yticks([-0.5, -0.1, 0, 0.1, 0.5], ["-0.5", "-0.1", "0", "0.1", "0.5"])


def _mark_points(axes: Axes, points: Sequence[tuple[str, int]]) -> None:
    axes.set_xticks(range(len(points)), [f"{run}\n{updates}" for run, updates in points])
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _draw_lines(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the cosine of every direction over the updates, with its standard deviation."""
    for name in directions_of(rows):
        found = [row for row in rows if row.direction == name]
        axes.errorbar(
            [row.updates for row in found],
            [row.full for row in found],
            yerr=[0 if np.isnan(row.full_sd) else row.full_sd for row in found],
            marker=".",
            capsize=2,
            color=COLOURS[name],
            label=LABELS.get(name, name),
        )
    axes.grid(alpha=0.3)


def draw_parts(rows: Sequence[Row], path: Path) -> Path:
    """Draw the angle that each approximation adds, at every point, on the largest batch.

    A row of panels for each of the two smallest dampings, a column for each network.
    """
    with_all = {(row.case, row.activation) for row in rows if row.direction == "KFLR"}
    found = [name for name in networks(rows) if name in with_all]
    figure = Figure(figsize=(3.6 * len(found) + 0.6, 6.2), layout="constrained")
    panels = figure.subplots(2, len(found), squeeze=False, sharey="row")
    for number, line in enumerate(panels):
        for axes, name in zip(line, found, strict=True):
            ratio = _dampings(rows, name)[number]
            chosen = [r for r in rows if (r.case, r.activation, r.ratio) == (*name, ratio)]
            largest = max(row.batch for row in chosen)
            chosen = [r for r in chosen if (r.batch, r.damped) == (largest, "exact")]
            _draw_angles(axes, chosen)
            title = f"{name[0]}, {name[1]}; lambda = {ratio:g} x mean eigenvalue"
            axes.set_title(title, fontsize=8.5)
        line[0].set_ylabel("angle, degrees")
    return _finish(figure, list(panels.flat), path, columns=3)


def _draw_angles(axes: Axes, rows: Sequence[Row]) -> None:
    points = points_of(rows)
    angles = [part_angles([r for r in rows if (r.run, r.updates) == point]) for point in points]
    for title, colour in zip(PARTS, PART_COLOURS, strict=True):
        at = [number for number, found in enumerate(angles) if title in found]
        axes.plot(at, [angles[n][title] for n in at], marker=".", color=colour, label=title)
    _mark_points(axes, points)


def _finish(figure: Figure, panels: Sequence[Axes], path: Path, columns: int = 7) -> Path:
    """Add one legend for all panels, and write the picture."""
    labels = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        labels.values(),
        labels.keys(),
        loc="outside upper center",
        ncols=min(columns, len(labels)),
        fontsize=9,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    return path
