"""Means over batches and draws, as CSV, and what tables and pictures take from them."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from experiments.appendix_f2.measure import BLOCK, GRADIENT, Record
from experiments.appendix_f2.study import Task

MEASURES = ("full", "block", "decrease", "kflr", "whole_full", "whole_block")
Key = tuple[object, ...]


@dataclass(frozen=True)
class Row:
    """A direction at one point, with one batch size and damping: means over batches and draws.

    Attributes
    ----------
    case, activation, run, updates
        The network and the point.
    batch : int
        Examples.
    ratio : float
        lambda over the mean eigenvalue of the curvature.
    direction, damped : str
        The direction, and the kind of its damping.
    count : int
        Number of batches times draws.
    full, block, decrease, kflr, whole_full, whole_block : float
        Means of what :func:`experiments.appendix_f2.measure.compare` yields; NaN where it is not
        measured.
    full_sd, decrease_sd : float
        Standard deviations over batches and draws; NaN for fewer than two.
    lead, lead_sd : float
        Mean and standard deviation of the difference between the ``full`` of KFRA, on the same
        batch with the same damping, and that of this direction.
    """

    case: str
    activation: str
    run: str
    updates: int
    batch: int
    ratio: float
    direction: str
    damped: str
    count: int
    full: float
    block: float
    decrease: float
    kflr: float
    whole_full: float
    whole_block: float
    full_sd: float
    decrease_sd: float
    lead: float
    lead_sd: float


@dataclass(frozen=True)
class LayerRow:
    """An estimate in one layer, on the largest batch, with exact damping.

    Attributes
    ----------
    case, activation, run, updates, ratio, direction
        As of :class:`Row`.
    layer : int
        Number of the layer, from 1.
    cosine : float
        Mean cosine between the layer's part of the direction and of the exact block update.
    trace : float
        Trace of the layer's block, relative to that of the estimate that replaces KFLR where
        there is none: the one with the most samples.
    """

    case: str
    activation: str
    run: str
    updates: int
    ratio: float
    direction: str
    layer: int
    cosine: float
    trace: float


def summarise(found: Iterable[tuple[Task, Record]]) -> list[Row]:
    """Return the means at every point."""
    rows = []
    for task, point in found:
        groups: dict[Key, list[Record]] = {}
        ahead = {_place(r): r["full"] for r in point["records"] if r["direction"] == "KFRA"}
        for record in point["records"]:
            key = tuple(record[name] for name in ("batch", "ratio", "direction", "damped"))
            groups.setdefault(key, []).append(record)
        for key, records in groups.items():
            where = (task.case.name, task.activation, task.run, task.updates)
            leads = [ahead[_place(record)] - record["full"] for record in records]
            means = [_mean([r.get(name, np.nan) for r in records]) for name in MEASURES]
            spreads = [_spread([r[name] for r in records]) for name in ("full", "decrease")]
            spreads += [_mean(leads), _spread(leads)]
            rows.append(Row(*where, *key, len(records), *means, *spreads))  # type: ignore[arg-type, call-arg]
    return rows


def _place(record: Record) -> Key:
    """Return what a direction shares with KFRA's that it is compared with."""
    return tuple(record[name] for name in ("batch", "number", "ratio", "damped"))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def summarise_layers(found: Iterable[tuple[Task, Record]]) -> list[LayerRow]:
    """Return the layers of every estimate at every point."""
    rows = []
    for task, point in found:
        largest = max(task.case.batches)
        chosen = [r for r in point["records"] if "layers" in r and r["batch"] == largest]
        traces = next(t for t in point["traces"] if t["batch"] == largest)
        reference = traces["KFLR"] if task.case.kflr else traces[[*task.case.estimates][-1]]
        for ratio in task.case.dampings:
            for name in task.case.estimates:
                parts = [
                    r["layers"] for r in chosen if (r["ratio"], r["direction"]) == (ratio, name)
                ]
                where = (task.case.name, task.activation, task.run, task.updates, ratio, name)
                for layer, cosine in enumerate(np.mean(parts, axis=0)):
                    share = traces[name][layer] / reference[layer]
                    rows.append(LayerRow(*where, layer + 1, float(cosine), share))
    return rows


def write_rows(rows: Sequence[Row] | Sequence[LayerRow], path: Path) -> Path:
    """Write one row a line, numbers to four digits after the point, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(rows[0])])
        for row in rows:
            writer.writerow([_shown(value) for value in asdict(row).values()])
    return path


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if np.isnan(value) else f"{value:.4f}".rstrip("0").rstrip(".")


def read_rows(path: Path) -> list[Row]:
    """Read the rows that :func:`write_rows` wrote."""
    types: dict[str, Callable[[str], object]] = {
        "int": int,
        "str": str,
        "float": lambda text: float(text) if text else np.nan,
    }
    readers = {f.name: types[getattr(f.type, "__name__", str(f.type))] for f in fields(Row)}
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(**{name: readers[name](text) for name, text in line.items()})  # type: ignore[arg-type]
            for line in csv.DictReader(file)
        ]


def grouped(rows: Sequence[Row], kind: str = "exact") -> dict[Key, dict[str, list[Row]]]:
    """Group rows by network, batch size and damping, then by direction."""
    groups: dict[Key, dict[str, list[Row]]] = {}
    for row in rows:
        if row.damped == kind:
            key = (row.case, row.activation, row.batch, row.ratio)
            groups.setdefault(key, {}).setdefault(row.direction, []).append(row)
    return groups


def directions_of(rows: Sequence[Row]) -> list[str]:
    """Return the names of the directions: the exact ones, KFLR, KFRA, KFAC, the gradient."""
    names = {row.direction for row in rows}
    sampled = sorted((n for n in names if n.startswith("KFAC")), key=lambda n: int(n.split()[1]))
    return [n for n in (BLOCK, "KFLR", "KFRA", *sampled, GRADIENT) if n in names]


def middle_damping(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of each network's largest batch and middle damping, exact damping."""
    found = []
    for name in dict.fromkeys((row.case, row.activation) for row in rows):
        chosen = [row for row in rows if (row.case, row.activation) == name]
        ratios = sorted({row.ratio for row in chosen})
        largest, middle = max(row.batch for row in chosen), ratios[len(ratios) // 2]
        chosen = [row for row in chosen if (row.batch, row.ratio) == (largest, middle)]
        found += [row for row in chosen if row.damped == "exact"]
    return found


#: The angle between an exact update or an estimate and the next approximation, and where it is.
PARTS: dict[str, tuple[str, str]] = {
    "off-diagonal blocks: exact, exact by block": (BLOCK, "full"),
    "factorisation: exact by block, KFLR": ("KFLR", "block"),
    "nested means: KFLR, KFRA": ("KFRA", "kflr"),
    "sampling: KFLR, KFAC 1": ("KFAC 1", "kflr"),
    "sampling: KFLR, KFAC 10": ("KFAC 10", "kflr"),
}


def angle(cosine: float) -> float:
    """Return an angle in degrees."""
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def part_angles(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean of every angle over rows; none of a network without KFLR."""
    if not any(row.direction == "KFLR" for row in rows):
        return {}
    found = {}
    for title, (name, measure) in PARTS.items():
        angles = [angle(getattr(row, measure)) for row in rows if row.direction == name]
        if angles:
            found[title] = _mean(angles)
    return found
