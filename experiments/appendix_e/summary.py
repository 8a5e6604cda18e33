"""Tables of the study: one for each statement."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from experiments.appendix_e.ascent import End
from experiments.appendix_e.study import Record

SIGNS = (
    "points",
    "preactivation",
    "indefinite_preactivation",
    "blocks",
    "indefinite_blocks",
    "indefinite_full",
    "negative_trace",
)


def sign_totals(records: Sequence[Record]) -> dict[str, Record]:
    """Add the counts of statement (i) over each group of cases."""
    totals: dict[str, Record] = {}
    for record in records:
        total = totals.setdefault(record["group"], dict.fromkeys((*SIGNS, "lowest", "error"), 0))
        for name in SIGNS:
            total[name] += record[name]
        total["lowest"] = min(total["lowest"], record["lowest"])
        total["error"] = max(total["error"], record["autodiff_error"])
    return totals


def scope(record: Record) -> str:
    """Say which parameters an ascent moves, from which starts."""
    moved = "all layers" if record["layer"] is None else "one hidden layer"
    widths = "-".join(map(str, record["sizes"]))
    return f"{moved}, {widths}" + (", planted" if record["planted"] else "")


def end_totals(records: Sequence[Record]) -> dict[tuple[str, str, str], Counter[str]]:
    """Add the ends of the ascents over losses: by group, activation and scope."""
    totals: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for record in records:
        totals[record["group"], record["activation"], scope(record)].update(record["ends"])
    return dict(totals)


def markdown(results: dict[str, list[Record]]) -> str:
    """Return the three tables."""
    return "\n".join(
        (
            _sign_table(results["signs"]),
            _end_table(results["climbs"]),
            _rank_table(results["ranks"]),
        )
    )


def _sign_table(records: Sequence[Record]) -> str:
    rows = [
        [
            group,
            *(f"{total[name]:,}" for name in SIGNS),
            f"{total['lowest']:.1e}",
            f"{total['error']:.1e}",
        ]
        for group, total in sign_totals(records).items()
    ]
    headings = [
        "assumptions",
        "networks",
        "pre-activation Hessians",
        "not PSD",
        "layer blocks",
        "not PSD",
        "full Hessians not PSD",
        "negative traces",
        "lowest eigenvalue",
        "error against autodiff",
    ]
    return table(headings, rows)


def _end_table(records: Sequence[Record]) -> str:
    rows = [
        [*key, *(f"{ends.get(end, 0):,}" for end in End)]
        for key, ends in end_totals(records).items()
    ]
    return table(["assumptions", "activation", "parameters", *End], rows)


def _rank_table(records: Sequence[Record]) -> str:
    rows = []
    for r in records:
        means = ", ".join(f"{value:.3g}" for value in reversed(r["mean"]))
        counts = (r["steps"], r["falls"], r["rises"], r["formula"])
        rows.append([r["name"], means, *(f"{count:,}" for count in counts), f"{r['gap']:.0e}"])
    headings = [
        "network",
        "mean rank, output first",
        "steps backwards",
        "rank falls",
        "rank rises",
        "rank as predicted",
        "gap",
    ]
    return table(headings, rows)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"
