"""What the runs say: a row a problem and method, a verdict, a Markdown table."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.defaults.problems import PROBLEMS
from experiments.defaults.runs import FIRST_ORDER, METHODS, SECOND_ORDER

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A method on a problem; a first-order one at its best rate.

    Attributes
    ----------
    problem, method : str
        Which.
    rate : float or None
        The best of the grid, by the mean final loss over seeds.
    edge : bool
        Whether it is the smallest or the largest rate tried.
    finals : tuple of float
        Final training-set loss, a seed each.
    floor, start : float
        What no loss is below, and the mean loss before the first update.
    seconds : float
        Mean seconds of stepping an update, without the compiling first one.
    skipped : int
        Updates given up, over the seeds.
    diverged : int
        Runs that ended above their start or without a finite loss; for a first-order method over
        its whole grid.
    tried : int
        Runs that ``diverged`` counts among.
    records : tuple of dict
        The runs, a seed each.
    """

    problem: str
    method: str
    rate: float | None
    edge: bool
    finals: tuple[float, ...]
    floor: float
    start: float
    seconds: float
    skipped: int
    diverged: int
    tried: int
    records: tuple[Record, ...]

    @property
    def mean(self) -> float:
        """Mean final loss; NaN where a seed has none."""
        return sum(self.finals) / len(self.finals)


def summarise(records: Sequence[Record]) -> list[Row]:
    """Return a row for every problem and method that has runs, in the study's order."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record["problem"], record["method"]].append(record)
    order = [(problem, method) for problem in PROBLEMS for method in METHODS]
    return [_row(*key, groups[key]) for key in order if key in groups]


def final_loss(record: Record) -> float:
    """Return a run's last training-set loss."""
    return float(record["run"]["evaluations"][-1]["loss"])


def _row(problem: str, method: str, records: list[Record]) -> Row:
    by_rate: dict[float | None, list[Record]] = defaultdict(list)
    for record in records:
        by_rate[record["rate"]].append(record)
    best = min(by_rate, key=lambda rate: _rank(by_rate[rate], by_rate.values()))
    chosen = sorted(by_rate[best], key=lambda record: record["seed"])
    rates = sorted(rate for rate in by_rate if rate is not None)
    return Row(
        problem,
        method,
        best,
        best is not None and best in (rates[0], rates[-1]),
        tuple(final_loss(record) for record in chosen),
        chosen[0]["floor"],
        _mean(record["run"]["evaluations"][0]["loss"] for record in chosen),
        _mean(
            record["run"]["seconds"][-1] / max(1, len(record["run"]["seconds"]) - 1)
            for record in chosen
        ),
        sum(record["run"]["skipped"] for record in chosen),
        sum(record["diverged"] for record in records),
        len(records),
        tuple(chosen),
    )


def _rank(records: Sequence[Record], groups: Iterable[Sequence[Record]]) -> float:
    """Return the mean final loss of a rate; one that lacks seeds the others have is put last."""
    mean = _mean(map(final_loss, records))
    complete = len(records) == max(len(group) for group in groups)
    return mean if complete and math.isfinite(mean) else math.inf


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def exceptions(records: Sequence[Record]) -> list[str]:
    """Tell every second-order run that does not end below the best first-order run of its seed.

    Where a seed has no first-order run, the best of all seeds counts.
    """
    told = []
    for record in records:
        if record["method"] not in SECOND_ORDER:
            continue
        rivals = [
            other
            for other in records
            if other["problem"] == record["problem"] and other["method"] in FIRST_ORDER
        ]
        rivals = [other for other in rivals if other["seed"] == record["seed"]] or rivals
        losses = [loss for other in rivals if math.isfinite(loss := final_loss(other))]
        best, reached = min(losses, default=math.inf), final_loss(record)
        if not reached < best:
            told.append(
                f"{record['problem']}, {record['method'].upper()}, seed {record['seed']}: "
                f"{reached:.5g} against {best:.5g}"
            )
    return told


def verdict(records: Sequence[Record]) -> str:
    """Say whether the defaults won everywhere."""
    second = sum(record["method"] in SECOND_ORDER for record in records)
    rivals = {record["problem"] for record in records if record["method"] in FIRST_ORDER}
    faced = sum(r["method"] in SECOND_ORDER and r["problem"] in rivals for r in records)
    lost = sum(record["diverged"] for record in records if record["method"] in SECOND_ORDER)
    behind = exceptions([record for record in records if record["problem"] in rivals])
    first = (
        f"{faced - len(behind)} of {faced} second-order runs end below the best first-order run "
        f"at equal updates; {lost} of {second} diverged."
    )
    return "\n".join([first, *(f"- not below: {line}" for line in behind)])


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    headings = (
        "problem | method | final loss | spread | seeds | start | floor | ms an update | notes"
    )
    lines = [f"| {headings} |", "|---|---|" + "---:|" * 6 + "---|"]
    for row in rows:
        spread = f"{min(row.finals):.5g} to {max(row.finals):.5g}" if len(row.finals) > 1 else ""
        cells = (
            row.problem,
            row.method.upper() if row.method in SECOND_ORDER else row.method.capitalize(),
            f"{row.mean:.5g}",
            spread,
            str(len(row.finals)),
            f"{row.start:.5g}",
            f"{row.floor:.5g}",
            f"{1000 * row.seconds:.3g}",
            _notes(row),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _notes(row: Row) -> str:
    notes = []
    if row.rate is not None:
        notes.append(f"rate {row.rate:.3g}" + (" (edge of the grid)" if row.edge else ""))
    if row.diverged:
        notes.append(f"{row.diverged} of {row.tried} runs diverged")
    if row.skipped:
        notes.append(f"{row.skipped} updates skipped")
    return "; ".join(notes)
