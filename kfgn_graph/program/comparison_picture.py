"""A picture that compares runs: the loss of each batch against seconds and updates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kfgn_graph.errors import SpecError
from kfgn_graph.program.runs import RunRecord

FORMATS = (".png", ".svg", ".pdf")
COLOURS = 10
"""Number of Matplotlib's colours, after which lines take another style."""
STYLES = ("-", "--", ":", "-.")


def draw_comparison(
    records: Sequence[RunRecord], names: Sequence[str], path: Path, window: int
) -> None:
    """Draw the smoothed loss of the runs against seconds and against updates, on log scales.

    The loss is drawn above its lower bound, if all runs have the same. Runs without updates are
    left out.

    Parameters
    ----------
    records : sequence of RunRecord
        The runs.
    names : sequence of str
        Their labels.
    path : Path
        The picture: PNG, SVG or PDF by its suffix.
    window : int
        Number of updates that each point is the mean of.

    Raises
    ------
    SpecError
        The suffix is not that of a picture, or no run has an update.
    """
    if path.suffix.lower() not in FORMATS:
        raise SpecError(f"--picture: found {path.name!r}; allowed suffixes: {', '.join(FORMATS)}.")
    drawn = [
        (record, name)
        for record, name in zip(records, names, strict=True)
        if len(record.updates.get("loss", ()))
    ]
    if not drawn:
        raise SpecError("--picture: no run has an update yet.")
    from matplotlib.figure import Figure  # slow to import

    floors = {float(record.header["floor"]) for record, _ in drawn}
    floor = floors.pop() if len(floors) == 1 else 0.0
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    by_seconds, by_updates = figure.subplots(1, 2, sharey=True)
    for index, (record, name) in enumerate(drawn):
        style = STYLES[index // COLOURS % len(STYLES)]
        losses = sliding_mean(record.updates["loss"], window) - floor
        for axes, at in (
            (by_seconds, record.updates["seconds"]),
            (by_updates, record.updates["update"]),
        ):
            axes.plot(at, losses, linestyle=style, linewidth=1.3, label=name)
    for axes, unit in ((by_seconds, "seconds of updates"), (by_updates, "updates")):
        axes.set(xlabel=unit, xscale="log", yscale="log")
        axes.grid(alpha=0.3, which="both")
    by_seconds.set_ylabel(f"batch loss above {floor:.4g}" if floor else "batch loss")
    lines, labels = by_updates.get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path, dpi=130)


def sliding_mean(values: np.ndarray, window: int = 10) -> np.ndarray:
    """Return the mean of each value and the ``window - 1`` before it; of fewer at the start.

    ``kfgn compare --picture`` draws the losses of a run so.

    Parameters
    ----------
    values : ndarray, shape (T,)
        The values. A mean that includes one that is not finite is not finite.
    window : int
        Number of values that a mean is of.

    Returns
    -------
    ndarray, shape (T,)
        The means.
    """
    sums = np.convolve(values, np.ones(window))[: len(values)]
    return sums / np.minimum(np.arange(1, len(values) + 1), window)
