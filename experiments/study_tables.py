"""Tables of a study: each setting with its final loss, its speed, and what it beat."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.curves import RunCurve, ranked, updates_to


@dataclass(frozen=True)
class Row:
    """A setting on a problem, over its seeds.

    Attributes
    ----------
    problem, setting : str
        Which.
    finals : tuple of float
        Final training-set loss, one for each seed; infinite where a run diverged.
    floor : float
        The least loss that is possible.
    updates : int
        Number of updates of the longest run.
    seconds : float
        Mean seconds of an update.
    overtakes : int or None
        Mean number of updates to Adam's best final loss, if every run reached it.
    """

    problem: str
    setting: str
    finals: tuple[float, ...]
    floor: float
    updates: int
    seconds: float
    overtakes: int | None

    @property
    def mean(self) -> float:
        """Mean final loss."""
        return sum(self.finals) / len(self.finals)


def best_of(curves: Iterable[RunCurve], rule: str) -> RunCurve | None:
    """Return the run of a rule with the lowest final loss, or None."""
    return next(iter(ranked(curve for curve in curves if curve.rule == rule)), None)


def rows_of(curves: Sequence[RunCurve]) -> list[Row]:
    """Return a row for each setting, in order of their mean final loss within a problem."""
    groups: dict[tuple[str, str], list[RunCurve]] = defaultdict(list)
    for curve in curves:
        groups[curve.problem, curve.setting].append(curve)
    order = list(dict.fromkeys(curve.problem for curve in curves))
    rows = [_row(group, curves) for group in groups.values()]
    return sorted(rows, key=lambda row: (order.index(row.problem), row.mean))


def _row(group: Sequence[RunCurve], curves: Sequence[RunCurve]) -> Row:
    first = group[0]
    adam = best_of((c for c in curves if c.problem == first.problem), "adam")
    reached = [] if adam is None else [updates_to(curve, adam.final) for curve in group]
    counts = [count for count in reached if count is not None]
    return Row(
        first.problem,
        first.setting,
        tuple(curve.final for curve in group),
        first.floor,
        max(len(curve.losses) for curve in group),
        sum(curve.seconds_per_update for curve in group) / len(group),
        round(sum(counts) / len(counts)) if counts and len(counts) == len(group) else None,
    )


def markdown(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    titles = "problem | setting | seeds | updates | final loss | range | ms an update"
    head = f"{titles} | updates to Adam's best"
    lines = [f"| {head} |", "|---|---|" + "---:|" * 6]
    for row in rows:
        several = len(row.finals) > 1
        cells = (
            row.problem,
            row.setting,
            str(len(row.finals)),
            f"{row.updates:,}",
            _number(row.mean),
            f"{_number(min(row.finals))} to {_number(max(row.finals))}" if several else "",
            f"{1000 * row.seconds:.0f}",
            "" if row.overtakes is None else f"{row.overtakes:,}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _number(loss: float) -> str:
    return f"{loss:.5g}" if math.isfinite(loss) else "diverged"
