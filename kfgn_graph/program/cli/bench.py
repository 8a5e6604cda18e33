"""``kfgn bench``: the time of a spec's update, in a unit that can be compared between machines."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from kfgn_graph.program.cli.common import AsJson, SpecArgument, console, escape, print_json, told
from kfgn_graph.program.explanation.benchmark import Benchmark, benchmark
from kfgn_graph.program.explanation.timing import UNIT_FLOPS
from kfgn_graph.program.spec import load_spec

Updates = Annotated[
    int, typer.Option("--updates", min=1, help="The minimum number of updates to time.")
]
Pause = Annotated[
    float,
    typer.Option("--pause", min=0, help="Seconds to pause before each timed call."),
]


@told
def bench(
    spec: SpecArgument = "mnist-autoencoder",
    updates: Updates = 20,
    pause: Pause = 0.15,
    as_json: AsJson = False,
) -> None:
    """Time a spec's update, alternating with a matrix product as the unit. Nothing is saved."""
    found = benchmark(*load_spec(spec), updates, pause)
    if as_json:
        print_json(found.as_dict())
    else:
        console().print(_table(found))


def _table(found: Benchmark) -> Table:
    spec, timing = found.spec, found.timing
    low, high = timing.quartiles
    rate = UNIT_FLOPS / timing.unit / 1e9
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    what = f"{spec.name}: {spec.method.name} on {found.backend}, {spec.batch:,} examples"
    table.add_row("update", escape(what))
    table.add_row("takes", f"[bold]{timing.units:.3g}[/] units, {1e3 * timing.seconds:.4g} ms")
    table.add_row("quartiles", f"{low:.3g} to {high:.3g} units, over {timing.updates} updates")
    product = f"a 2000×2000×2000 float32 product by NumPy: {1e3 * timing.unit:.4g} ms"
    table.add_row("unit", f"{product}, {rate:,.0f} Gflop/s")
    table.add_row("building", f"{found.build_seconds:.1f} s")
    table.add_row("first call", f"{timing.first_call:.1f} s, including compilation")
    more = found.memory_peak - found.memory_before
    memory = f"{found.memory_peak:,.0f} MiB resident, {more:,.0f} more than before building"
    table.add_row("peak memory", memory)
    return table
