"""The rows of the study, its tables, and where two methods cost the same."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.benchmarks.traffic import ITEM
from experiments.cost.sweeps import SWEEPS, net_of
from experiments.cost.updates import (
    GRADIENT,
    METHODS,
    Candidate,
    crossover,
    predicted_bytes,
    predicted_gemms,
)

MIB = 2.0**20


@dataclass(frozen=True)
class Row:
    """One update of one network. Times are in products of 2000 x 2000 matrices by XLA.

    Attributes
    ----------
    sweep : str
        Of ``SWEEPS``.
    value : int
        The size that the sweep varies.
    method, schedule : str
        As of :class:`experiments.cost.updates.Candidate`.
    sizes : tuple of int
        Widths of the network.
    batch : int
        N.
    gemms, low, high : float
        Measured time: median, least and greatest of the samples.
    milliseconds : float
        The median in milliseconds of one thread.
    formula : float
        Time by C.4's counts, every operation at the rate of the product.
    package : float
        Time by :func:`kfgn_graph.predict_update`: products, inversions and memory at their rates.
    memory, workspace : float
        MiB at the peak of XLA's program: all, and intermediate results alone.
    kept : float
        MiB that have to be kept at once, by the widths.
    """

    sweep: str
    value: int
    method: str
    schedule: str
    sizes: tuple[int, ...]
    batch: int
    gemms: float
    low: float
    high: float
    milliseconds: float
    formula: float
    package: float
    memory: float
    workspace: float
    kept: float


def rows_of(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row for each update of each record."""
    return [_row(record, update) for record in records for update in record["updates"].values()]


def _row(record: Mapping[str, Any], update: Mapping[str, Any]) -> Row:
    net = net_of(record["settings"])
    candidate = Candidate(update["method"], update["schedule"])
    seconds, units = update["seconds"], update["units"]
    ratios = [taken / unit for taken, unit in zip(seconds, units, strict=True)]
    return Row(
        record["sweep"],
        record["value"],
        candidate.method,
        candidate.schedule,
        net.sizes,
        net.batch,
        gemms=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        milliseconds=1e3 * statistics.median(seconds),
        formula=predicted_gemms(net, candidate),
        package=update["predicted"]["predicted_seconds"] / statistics.median(units),
        memory=update["memory"]["total"] / MIB,
        workspace=update["memory"]["workspace"] / MIB,
        kept=sum(predicted_bytes(net, candidate).values()) / MIB,
    )


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file of results."""
    stored = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [Row(**{**row, "sizes": tuple(row["sizes"])}) for row in stored]


def line_of(rows: Sequence[Row], sweep: str, method: str, schedule: str) -> list[Row]:
    """Return the rows of one method of a sweep by ascending size; the gradient has no schedule."""
    schedule = "" if method == GRADIENT else schedule
    found = [r for r in rows if (r.sweep, r.method, r.schedule) == (sweep, method, schedule)]
    return sorted(found, key=lambda row: row.value)


def crossing(
    values: Sequence[float], rising: Sequence[float], other: Sequence[float]
) -> float | None:
    """Return the size above which one curve exceeds another, or None if it does not.

    Between two sizes the difference is interpolated linearly. If the curve is higher from the
    start, the first size is returned.
    """
    gaps = [a - b for a, b in zip(rising, other, strict=True)]
    above = next((i for i in range(len(gaps)) if min(gaps[i:]) > 0), None)
    if above is None or above == 0:
        return None if above is None else values[0]
    low, high = gaps[above - 1], gaps[above]
    return values[above - 1] + (values[above] - values[above - 1]) * low / (low - high)


def ratio_table(rows: Sequence[Row]) -> str:
    """Tabulate the time of KFRA over the time of KFAC, for each network and schedule."""
    lines = ["| sweep | size | N / (d_i + d_o) | schedule | KFRA / KFAC | C.4 | package |"]
    lines.append("|---|---:|---:|---|---:|---:|---:|")
    for sweep in ("width", "batch"):
        for schedule in ("fresh", "defaults"):
            pairs = zip(
                line_of(rows, sweep, "kfra", schedule),
                line_of(rows, sweep, "kfac", schedule),
                strict=True,
            )
            for kfra, kfac in pairs:
                share = kfra.batch / (2 * kfra.sizes[0])
                figures = (kfra.gemms / kfac.gemms, kfra.formula / kfac.formula)
                cells = [f"{value:.2f}" for value in (*figures, kfra.package / kfac.package)]
                line = [sweep, f"{kfra.value}", f"{share:.2g}", schedule, *cells]
                lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines) + "\n"


def time_table(rows: Sequence[Row], sweep: str, schedule: str) -> str:
    """Tabulate the time of every update: measured (by C.4's counts; by the package)."""

    def cell(row: Row) -> str:
        return f"{_short(row.gemms)} ({_short(row.formula)}; {_short(row.package)})"

    return _table(rows, sweep, schedule, cell)


def extra_table(rows: Sequence[Row], sweep: str, schedule: str) -> str:
    """Tabulate the time beyond the gradient step: measured (by C.4's counts)."""
    base = {row.value: row for row in line_of(rows, sweep, GRADIENT, "")}

    def cell(row: Row) -> str:
        if row.method == GRADIENT:
            return f"{_short(row.gemms)} ({_short(row.formula)})"
        gradient = base[row.value]
        measured, formula = row.gemms - gradient.gemms, row.formula - gradient.formula
        sign = "+" if measured >= 0 else ""
        return f"{sign}{_short(measured)} ({_short(formula)})"

    return _table(rows, sweep, schedule, cell)


def memory_table(rows: Sequence[Row], sweep: str, schedule: str) -> str:
    """Tabulate the peak memory in MiB: of the program (of what has to be kept)."""
    return _table(rows, sweep, schedule, lambda r: f"{_short(r.memory)} ({_short(r.kept)})")


def _table(rows: Sequence[Row], sweep: str, schedule: str, cell: Callable[[Row], str]) -> str:
    methods = (GRADIENT, *METHODS)
    names = [sweep.partition("-")[0], GRADIENT, *(method.upper() for method in METHODS)]
    lines = [f"| {' | '.join(names)} |", f"|{'---:|' * len(names)}"]
    columns = [line_of(rows, sweep, method, schedule) for method in methods]
    for group in zip(*columns, strict=True):
        lines.append(f"| {group[0].value} | {' | '.join(map(cell, group))} |")
    return "\n".join(lines) + "\n"


def _short(value: float) -> str:
    """Return three figures, or two where the value is below 1."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 1:
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:#.2g}"


def crossings(rows: Sequence[Row]) -> list[str]:
    """Say for each sweep of K where KFLR becomes more expensive than KFRA, and by how much."""
    lines = []
    for sweep, schedule in (("K", "fresh"), ("K", "defaults"), ("K-small-batch", "fresh")):
        kflr, kfra = (line_of(rows, sweep, method, schedule) for method in ("kflr", "kfra"))
        if not kflr:
            continue
        values = [row.value for row in kflr]
        told = [
            _told(crossing(values, [pick(r) for r in kflr], [pick(r) for r in kfra]), values)
            for pick in (lambda r: r.gemms, lambda r: r.formula, lambda r: r.package)
        ]
        lines.append(
            f"N = {kflr[0].batch}, width {kflr[0].sizes[0]}, {schedule}: measured {told[0]}, C.4 "
            f"{told[1]}, package {told[2]}; counting G alone "
            f"{crossover(kflr[0].sizes, kflr[0].batch):.2g}"
        )
    return lines


def _told(found: float | None, values: Sequence[int]) -> str:
    if found is None:
        return f"above {values[-1]}"
    return f"at most {values[0]}" if found == values[0] else f"{found:.2g}"


def column_copies(rows: Sequence[Row], sweep: str, schedule: str) -> dict[int, float]:
    """Return how many copies of its K columns KFLR holds at its peak, for each K above 1.

    That is the workspace beyond KFAC's, which holds one column, over the bytes of K - 1 columns of
    the widest layer, ``4 N D`` each.
    """
    found = {}
    kfac, kflr = (line_of(rows, sweep, method, schedule) for method in ("kfac", "kflr"))
    for one, many in zip(kfac, kflr, strict=True):
        columns = (many.sizes[-1] - 1) * ITEM * many.batch * max(many.sizes[1:]) / MIB
        if columns:
            found[many.value] = (many.workspace - one.workspace) / columns
    return found


def errors(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return measured over predicted time, its median and range, by prediction and schedule."""
    found = {}
    for schedule in ("", "fresh", "defaults"):
        chosen = [row for row in rows if row.schedule == schedule]
        for name in ("formula", "package"):
            ratios = [row.gemms / getattr(row, name) for row in chosen]
            if ratios:
                key = f"{schedule or GRADIENT}, {name}"
                spread = {"least": min(ratios), "greatest": max(ratios)}
                found[key] = {"median": statistics.median(ratios), **spread}
    return found


def markdown(rows: Sequence[Row]) -> str:
    """Return all tables of the study."""
    parts = [
        "Times in products of 2000 x 2000 float32 matrices by XLA on one thread: measured (by "
        "C.4's counts; by the package).\n"
    ]
    for name, sweep in SWEEPS.items():
        for schedule in sweep.schedules:
            if line_of(rows, name, "kfra", schedule):
                parts += [f"## {sweep.title}, {schedule}\n", time_table(rows, name, schedule)]
                parts += ["Beyond the gradient step:\n", extra_table(rows, name, schedule)]
                parts += ["MiB at the peak (to be kept):\n", memory_table(rows, name, schedule)]
    if any(row.sweep in ("width", "batch") for row in rows):
        parts += ["## KFRA beside KFAC\n", ratio_table(rows)]
    if lines := crossings(rows):
        parts += ["## K above which KFLR costs more than KFRA\n"]
        parts += ["\n".join(f"- {line}" for line in lines) + "\n"]
    for name, schedule in (("K", "fresh"), ("K", "defaults"), ("K-small-batch", "fresh")):
        copies = column_copies(rows, name, schedule)
        if copies:
            listed = ", ".join(f"{k}: {count:.1f}" for k, count in copies.items())
            parts.append(f"Copies of the K columns, {name}, {schedule}: {listed}.\n")
    for key, found in errors(rows).items():
        words = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        parts.append(f"Measured over predicted, {key}: {words}.\n")
    return "\n".join(parts)
