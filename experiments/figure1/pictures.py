"""The figure as in the paper: three surfaces side by side, with the kinks drawn on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from experiments.figure1.surfaces import Surface

SURFACE = "viridis"
KINK = "#c0392b"


def draw_surfaces(surfaces: Sequence[Surface], path: Path) -> Path:
    """Draw the surfaces, the activation boundaries as lines on them, and level sets below.

    Returns
    -------
    Path
        ``path``, a PNG.
    """
    count = len(surfaces)
    figure = Figure(figsize=(4.3 * count, 7.4), layout="constrained")
    for number, surface in enumerate(surfaces, 1):
        solid = figure.add_subplot(2, count, number, projection="3d")
        _draw_solid(solid, surface)
        solid.set_title(f"({surface.panel.name})  {surface.panel.title}")
        flat = figure.add_subplot(2, count, count + number)
        _draw_levels(flat, surface)
    figure.suptitle(
        "E of a two-layer ReLU network with square loss; red: boundaries of the activations"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    return path


def _draw_solid(axes: Axes3D, surface: Surface) -> None:
    xs, ys = np.meshgrid(surface.axis, surface.axis, indexing="ij")
    axes.computed_zorder = False  # else the lines on the surface would vanish in it
    axes.plot_surface(
        xs, ys, surface.values.loss, cmap=SURFACE, rcount=61, ccount=61, linewidth=0, zorder=1
    )
    for line in surface.boundaries:
        axes.plot(line[:, 0], line[:, 1], line[:, 2], color=KINK, linewidth=1.1, zorder=2)
    axes.view_init(elev=32, azim=-58)
    axes.set(xlabel="x", ylabel="y", zlabel="E")


def _draw_levels(axes, surface: Surface) -> None:  # type: ignore[no-untyped-def]
    axes.contourf(surface.axis, surface.axis, surface.values.loss.T, levels=24, cmap=SURFACE)
    axes.contour(
        surface.axis,
        surface.axis,
        surface.values.loss.T,
        levels=24,
        colors="white",
        linewidths=0.3,
    )
    for line in surface.boundaries:
        axes.plot(line[:, 0], line[:, 1], color=KINK, linewidth=0.8)
    reach = surface.axis[-1]
    axes.set(xlabel="x", ylabel="y", aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
