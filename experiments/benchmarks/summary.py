"""Records of several runs brought together, case by case."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from experiments.benchmarks.flops import FIRST_ORDER

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What is told of a case.

    Attributes
    ----------
    net, system, backend, method : str
        Which case.
    schedule : str
        Updates between inversions, and whether step length and damping adapt.
    runs : int
        How often it was measured.
    figures : dict
        Of :func:`experiments.benchmarks.figures.figures`, medians over runs; ``first_call``
        (seconds) and ``memory`` (MiB, peak) over the runs that began with empty caches, and
        ``from_disk`` (seconds) over the others, where there are any.
    spread : tuple of float
        The least and the greatest median of a run, in NumPy's products.
    """

    net: str
    system: str
    backend: str
    method: str
    schedule: str
    runs: int
    figures: dict[str, float]
    spread: tuple[float, float]

    @property
    def label(self) -> str:
        """The case without its net."""
        words = (self.system, self.backend, self.method, self.schedule)
        return " ".join(word for word in words if word)


def summarise(records: Sequence[Record]) -> list[Row]:
    """Return a row for each case that was measured, in the order of the records' first run."""
    order: dict[str, list[Record]] = {}
    for record in records:
        if "figures" in record:
            order.setdefault(record["key"], []).append(record)
    return [_row(group) for group in order.values()]


def _row(group: Sequence[Record]) -> Row:
    settings = group[0]["settings"]
    medians = [record["figures"]["step"]["median"] for record in group]
    flat = [_flat(record) for record in group]
    return Row(
        settings["name"],
        settings["system"],
        settings["backend"],
        settings["method"],
        _schedule(settings),
        len(group),
        _medians(flat),
        (min(medians), max(medians)),
    )


def _medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the runs that have it."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median(run[name] for run in runs if name in run) for name in names}


def _flat(record: Record) -> dict[str, float]:
    """Return a record's figures by one name each: ``step.low`` and so on."""
    measured, first = record["measured"], record["measured"]["first_call_seconds"]
    cold = {"first_call": first, "memory": measured["memory_peak_mib"]}
    found = {
        **(cold if record["cold"] else {"from_disk": first}),
        "bandwidth": measured["bandwidth"],
    }
    for name, value in record["figures"].items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        found |= {f"{name}.{part}" if part else name: number for part, number in parts}
    return found


def _schedule(settings: Record) -> str:
    if settings["method"] == FIRST_ORDER:
        return ""
    every = settings["refresh_every"]
    when = "fresh" if every == 1 else f"every {every}"
    return f"{when}, {'adaptive' if settings['adaptive'] else 'plain'}"


def by_net(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Return the rows net by net, nets in the order of their first row."""
    first = {row.net: index for index, row in reversed(list(enumerate(rows)))}
    ordered = sorted(rows, key=lambda row: first[row.net])
    return [(net, list(group)) for net, group in groupby(ordered, lambda row: row.net)]


def remarks(records: Sequence[Record]) -> list[str]:
    """Return what is to be said of cases beside their figures, each thing once."""
    lines: dict[str, None] = {}
    for record in records:
        settings = record["settings"]
        who = f"{settings['name']}, {settings['system']}, {settings['method']}"
        for kind in ("note", "reason"):
            if record[kind]:
                lines[f"{who}: {record[kind]}"] = None
        if record.get("failure"):
            last = record["failure"].strip().splitlines()[-1]
            lines[f"{who} on {settings['backend']}: FAILED: {last}"] = None
    return list(lines)
