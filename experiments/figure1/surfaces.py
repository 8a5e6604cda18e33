"""The surfaces as they are drawn: a grid of losses, and the lines along which there are kinks."""

from dataclasses import dataclass

import numpy as np

from experiments.figure1.panels import Panel, Setup
from experiments.figure1.planes import PlaneFunction, Values

LINE_POINTS = 81


@dataclass(frozen=True)
class Surface:
    """A panel with its values.

    Attributes
    ----------
    panel : Panel
        Which.
    axis : ndarray, shape (points,)
        Coordinates of the grid, the same in both directions.
    values : Values
        On the grid.
    boundaries : tuple of ndarray, each of shape (LINE_POINTS, 3)
        x, y and E along the activation boundaries.
    """

    panel: Panel
    axis: np.ndarray
    values: Values
    boundaries: tuple[np.ndarray, ...]


def surface(
    panel: Panel, evaluate: PlaneFunction, batch: tuple[np.ndarray, ...], setup: Setup
) -> Surface:
    """Evaluate a panel on its grid and along its activation boundaries."""
    axis, values = evaluate.grid(panel.plane, batch, setup.points, setup.reach)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    start, at_x, at_y = evaluate(panel.plane, batch, corners[:, 0], corners[:, 1]).hidden
    lines = []
    coefficients = np.unique(np.stack([start, at_x - start, at_y - start], axis=1), axis=0)
    for constant, slope_x, slope_y in coefficients:
        ends = clip_line(constant, slope_x, slope_y, setup.reach)
        if ends is not None:
            along = np.linspace(*ends, LINE_POINTS)
            loss = evaluate(panel.plane, batch, along[:, 0], along[:, 1]).loss
            lines.append(np.column_stack([along, loss]))
    return Surface(panel, axis, values, _different(lines))


def clip_line(c: float, p: float, q: float, reach: float) -> np.ndarray | None:
    """Return the ends, shape (2, 2), of the line c + p x + q y = 0 within [-reach, reach]^2.

    None if the line does not meet the square, or if there is no line (p = q = 0).
    """
    ends = []
    for side in (-reach, reach):
        if q != 0 and abs(y := -(c + p * side) / q) <= reach:
            ends.append((side, y))
        if p != 0 and abs(x := -(c + q * side) / p) <= reach:
            ends.append((x, side))
    if len(ends) < 2:
        return None
    points = np.array(sorted(ends))
    return points[[0, -1]] if np.ptp(points, axis=0).max() > 0 else None


def _different(lines: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return the lines without repetitions: in panel (c) all units change on the same one."""
    kept: dict[tuple[float, ...], np.ndarray] = {}
    for line in lines:
        kept.setdefault(tuple(np.round(line[[0, -1], :2], 9).ravel() + 0.0), line)
    return tuple(kept.values())
