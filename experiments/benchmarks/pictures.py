"""The benchmark's picture: a panel a net, a bar a case."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmarks.summary import Row, by_net
from experiments.benchmarks.systems import SYSTEMS

COLOURS = dict(
    zip(
        SYSTEMS,
        ("#0b6fa4", "#7fb2cf", "#3a7d44", "#9dbf9e", "#d1662a", "#8a4f9e", "#8c8c8c"),
        strict=True,
    )
)


def draw_bars(rows: Sequence[Row], path: Path) -> Path:
    """Draw each case's time with its quartiles, and its limits in full and in half.

    Parameters
    ----------
    rows : sequence of Row
        What was measured.
    path : Path
        Where to write the PNG.

    Returns
    -------
    Path
        ``path``.
    """
    nets = by_net(rows)
    heights = [len(group) + 2 for _, group in nets]
    figure = Figure(figsize=(9.5, 0.24 * sum(heights) + 0.8), layout="constrained")
    panels = figure.subplots(len(nets), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (net, group) in zip(panels, nets, strict=True):
        _draw_net(axes, group)
        axes.set_title(net, loc="left", fontsize=10)
    panels[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    panels[-1].set_xlabel("one update, in products of 2000 x 2000 float32 matrices by NumPy")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def _draw_net(axes: Axes, rows: Sequence[Row]) -> None:
    places = list(range(len(rows)))
    medians = [row.figures["step.median"] for row in rows]
    below = [row.figures["step.median"] - row.figures["step.low"] for row in rows]
    above = [row.figures["step.high"] - row.figures["step.median"] for row in rows]
    axes.barh(
        places,
        medians,
        xerr=[below, above],
        color=[COLOURS[row.system] for row in rows],
        error_kw={"elinewidth": 1, "capsize": 2},
    )
    for kind, style in (("full", "-"), ("half", ":")):
        limits = [max(row.figures[f"limit_{kind}"], row.figures["limit_bytes"]) for row in rows]
        ends = [place - 0.45 for place in places], [place + 0.45 for place in places]
        label = "limit, symmetric products " + ("in full" if kind == "full" else "once")
        axes.vlines(limits, *ends, colors="black", linestyles=style, label=label)
    axes.set_yticks(places, [row.label for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
