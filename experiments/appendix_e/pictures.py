"""The picture of the study: a panel for each statement."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.appendix_e.ascent import End
from experiments.appendix_e.study import HOLDS, NOT_CONVEX, SMOOTH, Record
from experiments.appendix_e.summary import sign_totals

GROUP_COLOURS = {HOLDS: "#0b6fa4", SMOOTH: "#d1662a", NOT_CONVEX: "#8a4f9e"}
END_COLOURS = {
    End.DIVERGES: "#cfd8dc",
    End.FLAT: "#8c8c8c",
    End.KINK: "#0b6fa4",
    End.STRICT: "#c0392b",
    End.WEAK: "#d1662a",
    End.OTHER: "#b8860b",
    End.UNFINISHED: "#eeeeee",
}
LINES = ("#0b6fa4", "#3a7d44", "#d1662a", "#b8860b", "#8a4f9e", "#5d4037")
DRAWN = (
    "ReLU",
    "hard tanh",
    "max(0.1x, x)",
    "ReLU, one output",
    "max(0.1x, x), bottleneck of 4",
    "tanh, one output",
)


def draw_statements(results: dict[str, list[Record]], path: Path) -> Path:
    """Draw shares of indefinite Hessians, ends of ascents, and ranks by layer."""
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    _draw_signs(first, results["signs"])
    _draw_ends(second, results["climbs"])
    _draw_ranks(third, results["ranks"])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _draw_signs(axes: Axes, records: Sequence[Record]) -> None:
    shares = (
        ("pre-activation\nHessians", "indefinite_preactivation", "preactivation"),
        ("layer blocks", "indefinite_blocks", "blocks"),
        ("full Hessians", "indefinite_full", "points"),
        ("full Hessians:\ntrace < 0", "negative_trace", "points"),
    )
    for number, (group, total) in enumerate(sign_totals(records).items()):
        heights = [100 * total[part] / total[whole] for _, part, whole in shares]
        at = np.arange(len(shares)) + 0.27 * (number - 1)
        bars = axes.bar(at, heights, 0.25, label=group, color=GROUP_COLOURS[group])
        axes.bar_label(bars, [f"{height:.0f}" for height in heights], fontsize=8)
    axes.set_xticks(range(len(shares)), [label for label, *_ in shares], fontsize=9)
    axes.set(title="(i) a negative eigenvalue", ylabel="% of them")
    axes.legend(fontsize=8)


def _draw_ends(axes: Axes, records: Sequence[Record]) -> None:
    totals: dict[str, Counter[str]] = {}
    for record in records:
        moved = "all layers" if record["layer"] is None else "one layer"
        totals.setdefault(f"{record['group']}:\n{moved}", Counter()).update(record["ends"])
    left = np.zeros(len(totals))
    for end, colour in END_COLOURS.items():
        counts = [100 * ends.get(end, 0) / ends.total() for ends in totals.values()]
        if any(counts):
            axes.barh(range(len(totals)), counts, left=left, color=colour, label=str(end))
            left += counts
    axes.set_yticks(range(len(totals)), list(totals), fontsize=9)
    axes.invert_yaxis()
    axes.set(title="(ii) where gradient ascent ends", xlabel="% of ascents", xlim=(0, 100))
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=3)


def _draw_ranks(axes: Axes, records: Sequence[Record]) -> None:
    named = {record["name"]: record for record in records}
    for name, colour in zip(DRAWN, LINES, strict=True):
        means = named[name]["mean"]
        wide = name == "max(0.1x, x)"  # other lines lie on it
        axes.plot(
            range(1, len(means) + 1),
            means,
            color=colour,
            marker="o",
            markersize=4,
            linewidth=6 if wide else 1.5,
            alpha=0.5 if wide else 1,
            label=name,
        )
    axes.set_xticks(range(1, len(means) + 1))
    axes.set(
        title="(iii) rank of the pre-activation Hessian",
        xlabel="layer (the last one is the output)",
        ylabel="mean rank of an example",
        ylim=(0, 10.5),
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
