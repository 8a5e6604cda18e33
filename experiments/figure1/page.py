"""The interactive figure: one HTML file with its data inside, which needs no network."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.figure1.surfaces import Surface

TEMPLATE = Path(__file__).with_name("page.html")
PLACE = "/*DATA*/"
DIGITS = 4
ABOUT = {
    "a": "(a) W1 = xU + yV. On each red line a hidden unit becomes active for an example. "
    "Between the lines E is quadratic and convex.",
    "b": "(b) W2 = xU + yV. The hidden units do not change: one convex quadratic, without kinks.",
    "c": "(c) W1 = xU, W2 = yV. All units change at x = 0. E is convex in y, and in x on either "
    "side, but not in both together: there is curvature of either sign, but no smooth maximum.",
}


def write_page(surfaces: Sequence[Surface], path: Path) -> Path:
    """Write the page and return its path; values are rounded to four significant digits."""
    data = {
        "axis": _rounded(surfaces[0].axis),
        "panels": [
            {
                "title": f"({surface.panel.name})",
                "about": ABOUT[surface.panel.name],
                "loss": _rounded(surface.values.loss),
                "boundaries": [_rounded(line) for line in surface.boundaries],
            }
            for surface in surfaces
        ],
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(PLACE, json.dumps(data, separators=(",", ":"))), encoding="utf-8")
    return path


def read_page(path: Path) -> dict[str, object]:
    """Return the data inside a page."""
    line = next(
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("const DATA = ")
    )
    found: dict[str, object] = json.loads(line.removeprefix("const DATA = ").removesuffix(";"))
    return found


def _rounded(values: np.ndarray) -> list[object]:
    """Return nested lists of numbers with few digits."""
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [float(f"{value:.{DIGITS}g}") for value in values]
