"""The tables of the study."""

from collections.abc import Iterable, Sequence

import numpy as np

from experiments.appendix_f2.measure import KINDS
from experiments.appendix_f2.summary import (
    PARTS,
    Key,
    Row,
    directions_of,
    grouped,
    middle_damping,
    part_angles,
)

KEYS = ("network", "activation", "batch", "lambda / mean eigenvalue")

MARGIN = 0.01
"""Difference of cosines that counts."""


def markdown(rows: Sequence[Row]) -> str:
    """Return the tables: alignment, KFRA beside KFAC, angles by cause, and factored damping."""
    tables = (
        ("Cosine with the full exact update at every point, exact damping", _by_point(rows)),
        ("Cosine with the full exact update, exact damping: means over points", _alignment(rows)),
        ("Decrease of the quadratic model, relative to the best", _alignment(rows, "decrease")),
        ("Cosine of KFRA minus that of KFAC; points where it is positive", _leads(rows)),
        ("The same with factored damping", _leads(rows, "factored")),
        ("Angles in degrees at every point", _parts_by_point(rows)),
        ("Angles in degrees: means over points", _parts(rows)),
        ("Cosine with the full exact update, factored damping", _alignment(rows, kind="factored")),
    )
    parts = [f"### {title}\n\n{table}" for title, table in tables]
    return "\n".join([f"### KFRA beside KFAC\n\n{_counts(rows)}", *parts])


def _counts(rows: Sequence[Row]) -> str:
    """Count the points, batch sizes and dampings at which KFRA leads by more than a margin."""
    lines = []
    for kind in KINDS:
        for name in directions_of(rows):
            leads = [r.lead for r in rows if (r.direction, r.damped) == (name, kind)]
            if name.startswith("KFAC") and leads:
                ahead, behind = sum(x > MARGIN for x in leads), sum(x < -MARGIN for x in leads)
                lines.append([kind, name, ahead, behind, len(leads) - ahead - behind])
    headings = (f"KFRA ahead by over {MARGIN}", "behind by as much", "within it")
    return _table(headings, lines, ("damping", "compared with"))


def _table(headings: Sequence[str], lines: Iterable[Sequence[object]], keys: Key = KEYS) -> str:
    heads = "| " + " | ".join(map(str, (*keys, *headings))) + " |"
    ruler = "|---|---|" + "---:|" * (len(keys) + len(headings) - 2)
    return "\n".join([heads, ruler, *map(_line, lines)]) + "\n"


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _keys(key: Key) -> list[object]:
    return [*key[:3], f"{key[3]:g}"]


def _points(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """Group the rows of the middle damping by point."""
    points: dict[Key, list[Row]] = {}
    for row in middle_damping(rows):
        key = (row.case, row.activation, row.batch, f"{row.ratio:g}", row.run, row.updates)
        points.setdefault(key, []).append(row)
    return points


def _by_point(rows: Sequence[Row]) -> str:
    names = directions_of(middle_damping(rows))
    lines = []
    for key, found in _points(rows).items():
        cosines = {row.direction: f"{row.full:.3f}" for row in found}
        lines.append([*key, *(cosines.get(name, "-") for name in names)])
    return _table(names, lines, (*KEYS, "trained by", "updates"))


def _parts_by_point(rows: Sequence[Row]) -> str:
    angles = {key: part_angles(found) for key, found in _points(rows).items()}
    lines = [
        [*key, *(f"{a:.1f}" for a in found.values())] for key, found in angles.items() if found
    ]
    return _table(list(PARTS), lines, (*KEYS, "trained by", "updates"))


def _alignment(rows: Sequence[Row], measure: str = "full", kind: str = "exact") -> str:
    names = directions_of([row for row in rows if row.damped == kind])
    lines = []
    for key, found in grouped(rows, kind).items():
        cells = [
            f"{np.mean([getattr(row, measure) for row in found[name]]):.3f}"
            if name in found
            else "-"
            for name in names
        ]
        lines.append([*_keys(key), *cells])
    return _table(names, lines)


def _leads(rows: Sequence[Row], kind: str = "exact") -> str:
    names = [name for name in directions_of(rows) if name.startswith("KFAC")]
    lines = []
    for key, found in grouped(rows, kind).items():
        cells = []
        for name in names:
            leads = [row.lead for row in found.get(name, ())]
            told = f"{np.mean(leads):+.3f}, {sum(x > 0 for x in leads)}/{len(leads)}"
            cells.append(told if leads else "-")
        lines.append([*_keys(key), *cells])
    return _table(names, lines)


def _parts(rows: Sequence[Row]) -> str:
    lines = []
    for key, found in grouped(rows).items():
        angles = part_angles([row for group in found.values() for row in group])
        if angles:
            lines.append([*_keys(key), *(f"{value:.1f}" for value in angles.values())])
    return _table(list(PARTS), lines)
