"""``kfgn explain``: the layers, equations and costs of a spec's update."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from kfgn_graph.program.building import build, compile_step
from kfgn_graph.program.cli.common import AsJson, SpecArgument, console, escape, print_json, told
from kfgn_graph.program.cli.paths import file_named
from kfgn_graph.program.explanation.account import Account, account, rates_of, recognised
from kfgn_graph.program.explanation.drawing import DRAWING, draw
from kfgn_graph.program.explanation.formulas import used_for_inputs, used_for_outputs
from kfgn_graph.program.explanation.mathematics import DOCUMENT, latex_of
from kfgn_graph.program.explanation.rates import Rates
from kfgn_graph.program.explanation.timing import Timing, time_updates
from kfgn_graph.program.spec import load_spec

Measure = Annotated[
    bool,
    typer.Option("--measure", help="Also time updates, and compare them with the prediction."),
]
Svg = Annotated[
    Path | None,
    typer.Option(
        "--svg",
        metavar="PATH",
        parser=file_named,
        help="Draw the recognised graph to this SVG file.",
    ),
]
Latex = Annotated[
    Path | None,
    typer.Option(
        "--latex",
        metavar="PATH",
        parser=file_named,
        help="Write the update's mathematics to this LaTeX file.",
    ),
]
SHORT = 0.01
MEASURED_UPDATES = 10


@told
def explain(
    spec: SpecArgument,
    measure: Measure = False,
    svg: Svg = None,
    latex: Latex = None,
    as_json: AsJson = False,
) -> None:
    """Show the recognised layers, the equations used and the predicted time of an update."""
    _check_outputs(svg, latex)
    task = build(*load_spec(spec))
    step = compile_step(task)
    graph, reason = recognised(task, step)
    made = account(task, step, graph)
    if svg is not None:
        DRAWING.write(svg, draw(task, graph, made, reason).encode())
    if latex is not None:
        DOCUMENT.write(latex, latex_of(task.spec, made).encode())
    rates = rates_of(task, step)
    timing = time_updates(task, step, MEASURED_UPDATES) if measure else None
    if as_json:
        print_json(made.as_dict(rates, timing))
        return
    out = console()
    out.print(f"{made.method} on {made.backend}, {made.dtype}, {made.batch:,} examples per update")
    out.print(f"loss: {escape(made.loss)}")
    if reason:
        out.print(f"no table of layers, which this method does not need: {escape(reason)}")
    else:
        out.print("", _layers(made), "", _parts(made, rates), sep="\n")
    for name, why in made.outside.items():
        out.print(f"{escape(name)} is in no layer: {escape(why)}")
    _tell_time(made, rates, timing, out)


def _check_outputs(svg: Path | None, latex: Path | None) -> None:
    """Check that both files may be written, before anything is computed."""
    if svg is not None and latex is not None and svg.resolve() == latex.resolve():
        raise typer.BadParameter(f"--svg and --latex name the same file, {svg}.")
    if svg is not None:
        DRAWING.check(svg)
    if latex is not None:
        DOCUMENT.check(latex)


def _layers(made: Account) -> Table:
    table = Table(box=None)
    for index, column in enumerate(("layer", "shape", "Q", "by", "G", "by", "Mflop", "MiB kept")):
        table.add_column(column, justify="right" if index > 5 else "left")
    for index, layer in enumerate(made.layers):
        by_inputs = used_for_inputs(made.method)
        table.add_row(
            escape(layer.name),
            f"{layer.inputs} → {layer.outputs}" + ("" if layer.bias else ", no bias"),
            f"{layer.q}²" if by_inputs else "",
            by_inputs,
            f"{layer.g}²" if by_inputs else "",
            used_for_outputs(made.method, layer),
            _figure(made.operations_of(index) / 1e6, 1),
            _figure(made.kept[index] / 2**20, 2),
        )
    total = _figure(made.operations / 1e6, 1), _figure(made.kept_in_all / 2**20, 2)
    table.add_row("all", *[""] * 5, *total, style="bold")
    return table


def _figure(value: float, decimals: int) -> str:
    """Return a number with decimals, or with two significant digits if it is less than 1."""
    if value < 1:
        return np.format_float_positional(value, 2, unique=False, fractional=False, trim="k")
    return f"{value:,.{decimals}f}"


def _parts(made: Account, rates: Rates) -> Table:
    table = Table(box=None)
    for column in ("part of an update", "amount", "rate", "ms"):
        table.add_column(column, justify="left" if column.startswith("part") else "right")
    for part in made.parts:
        rate = getattr(rates, part.kind) / 1e9
        unit, per = ("MB", "GB/s") if part.kind == "memory" else ("Mflop", "Gflop/s")
        table.add_row(
            part.name,
            f"{_figure(part.amount / 1e6, 1)} {unit}",
            f"{rate:,.0f} {per}",
            _figure(1e3 * rates.seconds(part), 2),
        )
    table.add_row("predicted", "", "", _figure(1e3 * made.predicted(rates), 2), style="bold")
    return table


def _tell_time(made: Account, rates: Rates, timing: Timing | None, out: Console) -> None:
    predicted = made.predicted(rates)
    if timing is not None:
        line = f"measured: {_figure(1e3 * timing.seconds, 2)} ms per update"
        if predicted:
            line += f", {timing.seconds / predicted:.2f} times the prediction"
        out.print(f"{line}; the first call took {timing.first_call:.1f} s", soft_wrap=True)
    if 0 < predicted < SHORT:
        out.print(
            "The time of such a short update is mostly the overhead of calls and small copies, "
            "which is not predicted."
        )
