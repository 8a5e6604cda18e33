"""The benchmark's tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from experiments.benchmarks.configuration import Configuration

COLUMNS = (
    "method",
    "backend",
    "GEMMs",
    "quartiles",
    "ms",
    "limit",
    "ratio",
    "half",
    "ratio",
    "own",
    "first s",
    "MiB",
)


def results_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate the measurements; GEMM is the unit, a 2000^3 float32 product.

    The first limit and ratio count every product in full, the second ("half") symmetric results
    once; "own" is the ratio to the first limit at the rate of the backend's own product. Memory is
    the process's peak.
    """
    table = Table(
        title="One update, in units of a 2000x2000x2000 float32 GEMM",
        caption="\n".join(_unit_line(record) for record in records),
        caption_justify="left",
        padding=(0, 0),
    )
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if index < 2 else "right")
    for r in records:
        low, high = r["step_in_gemms_quartiles"]
        table.add_row(
            r["method"],
            r["backend"],
            f"{r['step_in_gemms']:.2f}",
            f"{low:.2f}-{high:.2f}",
            f"{r['step_milliseconds']:.0f}",
            f"{r['limit_full']:.2f}",
            f"{r['ratio_full']:.2f}",
            f"{r['limit_half']:.2f}",
            f"{r['ratio_half']:.2f}",
            f"{r['ratio_own']:.2f}",
            f"{r['first_call_seconds']:.1f}",
            f"{r['memory_peak_mib']:.0f}",
        )
    return table


def _unit_line(record: Mapping[str, Any]) -> str:
    """Tell how long the units took beside this configuration, and how far their times spread."""
    numpy, own = (
        f"{record[f'{kind}_milliseconds']:.0f} ms ({{:.0f}}-{{:.0f}})".format(
            *record[f"{kind}_milliseconds_quartiles"]
        )
        for kind in ("gemm", "own_gemm")
    )
    return f"{record['method']} on {record['backend']}: GEMM by NumPy {numpy}, its own {own}"


def breakdown_table(configurations: Sequence[Configuration], unit: float) -> Table:
    """Tabulate what the limits are made of, in units of ``unit`` operations."""
    table = Table(title="Operations of an update, in the same units")
    table.add_column("method")
    table.add_column("part")
    table.add_column("full", justify="right")
    table.add_column("half", justify="right")
    for configuration in configurations:
        method = configuration.method
        for term in configuration.terms:
            table.add_row(method, term.name, f"{term.full / unit:.2f}", f"{term.half / unit:.2f}")
        full, half = configuration.flops
        table.add_row(method, "all", f"{full / unit:.2f}", f"{half / unit:.2f}", end_section=True)
    return table
