"""``python -m experiments.benchmarks.growth``: time and memory against batch, width, depth and K.

Each series measures one method on networks that differ in one size, and fits the exponent p of
``size^p`` to time and memory. Beside it stands the exponent that the counted operations, and what
has to be kept, have over the same sizes: a sum of several powers, so that it is no whole number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import kfgn_graph as kfgn
from experiments.benchmarks.__main__ import BACKENDS, OUTPUT, chosen, wide_console
from experiments.benchmarks.cases import Case
from experiments.benchmarks.flops import FIRST_ORDER
from experiments.benchmarks.growth_pictures import draw_growth
from experiments.benchmarks.measuring import Record, failures, measure_all, stop_if_failed
from experiments.benchmarks.nets import Net
from experiments.benchmarks.series import Series, fitted
from experiments.benchmarks.systems import OURS
from experiments.records import write_json

REPEATS = 5


@dataclass(frozen=True)
class Axis:
    """One size that grows.

    Attributes
    ----------
    values : tuple of int
        The size, ascending.
    net : callable
        From the size to the network.
    methods : tuple of str
        What is measured.
    """

    values: tuple[int, ...]
    net: Callable[[int], Net]
    methods: tuple[str, ...] = ("kfra", FIRST_ORDER)


AXES: Mapping[str, Axis] = {
    "batch": Axis(
        (500, 1000, 2000, 4000),
        lambda n: Net(f"batch-{n}", (400,) * 5, "tanh", "bernoulli", n),
    ),
    "width": Axis(
        (128, 256, 512, 1024),
        lambda n: Net(f"width-{n}", (n,) * 5, "tanh", "bernoulli", 500),
    ),
    "depth": Axis(
        (2, 4, 8, 16),
        lambda n: Net(f"depth-{n}", (256,) * (n + 1), "tanh", "bernoulli", 500),
    ),
    "K": Axis(
        (4, 8, 16, 32),
        lambda n: Net(f"outputs-{n}", (256, 256, 256, n), "tanh", "softmax", 500),
        ("kflr",),
    ),
}
"""By name."""


def case_of(net: Net, method: str, backend: str, repeats: int, adaptive: bool) -> Case:
    """Return the case of a method on a network, everything fresh at every update."""
    if method == FIRST_ORDER:
        return Case(net, "pytensor-ml", backend, method, repeats=repeats)
    return Case(net, OURS, backend, method, 1, adaptive, repeats)


def series_of(axis: str, method: str, values: Sequence[int], records: Sequence[Record]) -> Series:
    """Return the series of records of one method, in the order of the values."""
    figures = [record["figures"] for record in records]
    return Series(
        axis,
        method,
        list(values),
        time=fitted(
            values, [f["step"]["median"] for f in figures], [f["limit_full"] for f in figures]
        ),
        memory=fitted(
            values, [f["update_mib"] for f in figures], [f["kept_mib"] for f in figures]
        ),
    )


def table_of(series: Sequence[Series]) -> Table:
    """Tabulate the exponents, over all sizes and between the two largest."""
    table = Table(title="Exponents of growth: fitted, and predicted by what is counted")
    for heading in ("against", "method", "sizes", "of"):
        table.add_column(heading)
    for heading in ("fitted", "predicted", "fitted, top", "predicted, top"):
        table.add_column(heading, justify="right")
    for one in series:
        for name, fit in (("time", one.time), ("memory", one.memory)):
            figures = (fit.exponent, fit.predicted_exponent, fit.top, fit.predicted_top)
            sizes = ", ".join(map(str, one.values))
            table.add_row(one.axis, one.method, sizes, name, *(f"{p:.2f}" for p in figures))
    return table


def main(
    axes: Annotated[str, typer.Option(help=f"Of {', '.join(AXES)}.")] = ",".join(AXES),
    backend: Annotated[str, typer.Option(help="jax, numba or c.")] = "jax",
    points: Annotated[int, typer.Option(help="Sizes of an axis, from the least.", min=2)] = 4,
    adaptive: Annotated[bool, typer.Option(help="Step length and damping adapt.")] = False,
    repeats: Annotated[int, typer.Option(help="Timed samples.", min=2)] = REPEATS,
    fresh: Annotated[bool, typer.Option(help="Measure again what is there.")] = False,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = OUTPUT / "growth",
) -> None:
    """Measure what is missing; write a table, numbers and a picture."""
    chosen(backend, BACKENDS, "--backend")
    found, kept = [], []
    for name in chosen(axes, AXES, "--axes"):
        axis = AXES[name]
        values = axis.values[:points]
        for method in axis.methods:
            nets = [axis.net(value) for value in values]
            cases = [case_of(net, method, backend, repeats, adaptive) for net in nets]
            records = measure_all(cases, 1, output / "runs", fresh)
            kept += records
            if not failures(records):
                found.append(series_of(name, method, values, records))
    wide_console().print(table_of(found))
    results = {"machine": kfgn.machine_record(), "series": [asdict(one) for one in found]}
    print(f"Wrote {write_json(output / 'results.json', {**results, 'records': kept})}")
    if found:
        print(f"Wrote {draw_growth(found, output / 'growth.png')}")
    stop_if_failed(kept)


if __name__ == "__main__":
    typer.run(main)
