"""The benchmark's tables, for a terminal and in Markdown."""

from collections.abc import Sequence

from rich.table import Table

from experiments.benchmarks.cases import Case
from experiments.benchmarks.figures import GEMM_FLOPS
from experiments.benchmarks.flops import totals, update_terms
from experiments.benchmarks.summary import Row, by_net

HEADINGS = (
    "case",
    "GEMMs",
    "quartiles",
    "runs",
    "ms",
    "limit",
    "ratio",
    "half",
    "ratio",
    "bytes",
    "own",
    "first s",
    "disk s",
    "MiB",
    "update",
    "kept",
)


def cells(row: Row) -> list[str]:
    """Return a row's cells, as ``HEADINGS`` has them."""
    f, (least, greatest) = row.figures, row.spread
    return [
        row.label,
        _number(f["step.median"]),
        f"{_number(f['step.low'])}-{_number(f['step.high'])}",
        f"{_number(least)}-{_number(greatest)}" if row.runs > 1 else "",
        _number(1e3 * f["seconds.median"]),
        _number(f["limit_full"]),
        _number(f["ratio_full"]),
        _number(f["limit_half"]),
        _number(f["ratio_half"]),
        _number(f["limit_bytes"]),
        _number(f["ratio_own"]),
        *(f"{f[name]:.1f}" if name in f else "" for name in ("first_call", "from_disk")),
        f"{f['memory']:.0f}" if "memory" in f else "",
        f"{f['update_mib']:.0f}",
        _number(f["ratio_memory"]),
    ]


def _number(value: float) -> str:
    """Return three figures, or two places where that is more."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def rich_tables(rows: Sequence[Row]) -> list[Table]:
    """Return a table a net; GEMM is the unit, a 2000^3 float32 product by NumPy."""
    tables = []
    for net, group in by_net(rows):
        table = Table(
            title=f"{net}: one update, in GEMMs",
            caption=unit_line(group),
            caption_justify="left",
            padding=(0, 0),
        )
        table.add_column(HEADINGS[0])
        for heading in HEADINGS[1:]:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in group:
            table.add_row(*cells(row))
        tables.append(table)
    return tables


def unit_line(rows: Sequence[Row]) -> str:
    """Tell how long the units took beside these cases, and how far their times spread."""
    low, high = (
        min(1e3 * row.figures["gemm.low"] for row in rows),
        max(1e3 * row.figures["gemm.high"] for row in rows),
    )
    owns: dict[str, list[float]] = {}
    for row in rows:
        owns.setdefault(row.backend, []).append(1e3 * row.figures["own_gemm.median"])
    own = ", ".join(f"{name} {min(v):.0f}-{max(v):.0f}" for name, v in owns.items())
    speeds = [row.figures["bandwidth"] / 1e9 for row in rows]
    return (
        f"GEMM by NumPy {low:.0f}-{high:.0f} ms (quartiles), by the backend itself {own} ms; "
        f"memory {min(speeds):.0f}-{max(speeds):.0f} GB/s"
    )


def markdown(rows: Sequence[Row], remarks: Sequence[str] = ()) -> str:
    """Return a Markdown section a net, then the remarks."""
    lines: list[str] = []
    for net, group in by_net(rows):
        rules = ["---", *["---:"] * (len(HEADINGS) - 1)]
        lines += [f"## {net}", "", *(_line(parts) for parts in (HEADINGS, rules))]
        lines += [_line(cells(row)) for row in group]
        lines += ["", unit_line(group), ""]
    return "\n".join([*lines, *(f"- {remark}" for remark in remarks)]) + "\n"


def _line(parts: Sequence[str]) -> str:
    return f"| {' | '.join(parts)} |"


def breakdown_table(cases: Sequence[Case]) -> Table:
    """Tabulate what the limits are made of, in GEMMs, each kind of work on each net once."""
    table = Table(title="Operations of an update, in GEMMs", padding=(0, 1))
    for heading in ("net", "method", "schedule", "part", "full", "half"):
        table.add_column(heading, justify="right" if heading in ("full", "half") else "left")
    for net, work in dict.fromkeys((case.net, case.work) for case in cases if not case.reason):
        terms = update_terms(net.sizes, net.batch, work)
        schedule = f"{work.factors_every}/{work.refresh_every}"
        if work.adaptive:
            schedule += f", model on {work.examples}"
        shown = [(term.name, term.full, term.half) for term in terms]
        for part, full, half in [*shown, ("all", *totals(terms))]:
            figures = (_number(full / GEMM_FLOPS), _number(half / GEMM_FLOPS))
            table.add_row(net.name, work.method, schedule, part, *figures)
        table.add_section()
    return table
