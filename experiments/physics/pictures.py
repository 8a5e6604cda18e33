"""The picture of a problem: errors by updates and seconds, the solution, and where it errs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.physics.methods import Curve
from experiments.physics.problems import GRID, Array


def draw(curves: list[Curve], solution: Array, difference: Array, path: Path) -> None:
    """Draw the curves of one problem, and the solution and the error of the kernel form.

    Parameters
    ----------
    curves : list of Curve
        One for each method.
    solution, difference : (GRID, GRID) arrays
        The network's values, and these minus the exact ones.
    path : Path
        The file to write.
    """
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    by_updates, by_seconds, left, right = figure.subplots(1, 4)
    for curve in curves:
        by_updates.loglog(curve.updates, curve.errors, label=curve.method)
        by_seconds.loglog(curve.seconds, curve.errors, label=curve.method)
    by_updates.set(xlabel="updates", ylabel="relative L2 error")
    by_seconds.set(xlabel="seconds, without compilation")
    by_updates.legend()
    for axes, values, title in (
        (left, solution, "u"),
        (right, difference, "u minus the exact solution"),
    ):
        limit = float(np.abs(values).max())
        image = axes.imshow(
            values.reshape(GRID, GRID).T,
            origin="lower",
            extent=(0, 1, 0, 1),
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
        )
        axes.set(title=title)
        figure.colorbar(image, ax=axes)
    figure.savefig(path, dpi=110)
