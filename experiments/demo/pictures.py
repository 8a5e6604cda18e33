"""The demo's pictures: losses against updates and seconds, reconstructions beside originals."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.runs import Run

COLOURS = (
    "#0b6fa4",
    "#d1662a",
    "#3a7d44",
    "#8a4f9e",
    "#8c8c8c",
    "#b8860b",
    "#c0392b",
    "#16a085",
    "#5d4037",
    "#7f8c00",
)


def draw_losses(runs: Sequence[Run], floor: float, dataset: str, path: Path) -> Path:
    """Draw each run's loss above the floor, on a log scale, against updates and seconds.

    Parameters
    ----------
    runs : sequence of Run
        One a method; at most as many as there are colours.
    floor : float
        Entropy of the images, nats.
    dataset : str
        Its name, for the title.
    path : Path
        Where to write the PNG.

    Returns
    -------
    Path
        ``path``.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    by_updates, by_seconds = figure.subplots(1, 2, sharey=True)
    for run, colour in zip(runs, COLOURS, strict=False):
        counts = np.arange(run.updates)
        marks = np.array([(e.updates, e.seconds, e.loss - floor) for e in run.evaluations])
        batches = np.array(run.losses) - floor
        began = np.array([0.0, *run.seconds[:-1]])
        label = f"{run.name} ({run.settings})"
        _draw_run(by_updates, counts, batches, marks[:, 0], marks[:, 2], colour, label)
        _draw_run(by_seconds, began, batches, marks[:, 1], marks[:, 2], colour, label)
    for axes, unit in ((by_updates, "updates"), (by_seconds, "seconds of stepping")):
        axes.set(xlabel=unit, yscale="log")
        axes.grid(alpha=0.3, which="both")
    by_updates.set_ylabel(f"cross-entropy above its floor {floor:.1f}, nats")
    by_updates.legend(title="line: batch, marks: training set")
    figure.suptitle(f"The paper's autoencoder on {dataset.upper()}")
    return _save(figure, path)


def _draw_run(
    axes: Axes,
    at: np.ndarray,
    batches: np.ndarray,
    marked_at: np.ndarray,
    marks: np.ndarray,
    colour: str,
    label: str,
) -> None:
    axes.plot(at, batches, color=colour, linewidth=1, alpha=0.45)
    axes.plot(marked_at, marks, color=colour, marker="o", linestyle="none", label=label)


def draw_reconstructions(
    originals: np.ndarray, reconstructions: Mapping[str, np.ndarray], path: Path
) -> Path:
    """Draw square images in a row, and each method's reconstructions of them below.

    Parameters
    ----------
    originals : ndarray, shape (M, side * side)
        In [0, 1].
    reconstructions : mapping
        Method name to an array of the same shape.
    path : Path
        Where to write the PNG.

    Returns
    -------
    Path
        ``path``.
    """
    rows = {"original": originals, **reconstructions}
    side = int(np.sqrt(originals.shape[1]))
    figure = Figure(figsize=(0.8 * len(originals) + 0.6, 0.85 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(originals), squeeze=False)
    for axes_row, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(axes_row, images, strict=True):
            axes.imshow(image.reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        axes_row[0].set_ylabel(name)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path
