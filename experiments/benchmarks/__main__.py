"""``python -m experiments.benchmarks``: measure what is not there yet, then tabulate and draw.

Every case runs in a process of its own, so that its peak memory is its own, and ours with empty
compilation caches, so that a first call is a first call. There, an update and a 2000x2000x2000
float32 product by NumPy are timed in turn, and the figure is the median of the ratios: what else
the machine does slows both. ``docs/explanation/benchmarks.md`` says how to read the figures.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import kfgn_graph as kfgn
from experiments.benchmarks.cases import Case, all_cases
from experiments.benchmarks.measuring import Record, measure_all, stop_if_failed
from experiments.benchmarks.nets import NETS
from experiments.benchmarks.pictures import draw_bars
from experiments.benchmarks.summary import remarks, summarise
from experiments.benchmarks.systems import SYSTEMS
from experiments.benchmarks.tables import breakdown_table, markdown, rich_tables
from experiments.records import write_json

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "benchmarks"
WIDTH = 140
BACKENDS = ("jax", "numba", "c")
METHODS = ("kfra", "kflr", "kfac", "adam")
ADAPTING = {"on": (True,), "off": (False,), "both": (True, False)}
QUICK = {
    "nets": "autoencoder-1000",
    "systems": "kfgn_graph,kfac-jax,optax",
    "backends": "jax",
    "methods": "kfra,kfac,adam",
    "refresh": "1,5",
    "repeats": 5,
}
FULL = {
    "nets": ",".join(NETS),
    "systems": ",".join(SYSTEMS),
    "backends": ",".join(BACKENDS),
    "methods": ",".join(METHODS),
    "refresh": "1,5,10,20",
    "repeats": 15,
}


def chosen(text: str, known: Iterable[str], option: str) -> list[str]:
    """Read names separated by commas; refuse one that is not known."""
    names, listed = [name.strip() for name in text.split(",")], list(known)
    for name in names:
        if name not in listed:
            raise typer.BadParameter(
                f"there is no {name!r}; there are {', '.join(listed)}", param_hint=option
            )
    return names


def wanted_cases(wanted: Mapping[str, Any], adapting: str, calm: bool) -> list[Case]:
    """Return the cases of what was chosen, each choice as the command line has it."""
    cases = all_cases(
        [NETS[name] for name in chosen(wanted["nets"], NETS, "--nets")],
        chosen(wanted["systems"], SYSTEMS, "--systems"),
        chosen(wanted["backends"], BACKENDS, "--backends"),
        chosen(wanted["methods"], METHODS, "--methods"),
        [int(part) for part in chosen(wanted["refresh"], FULL["refresh"].split(","), "--refresh")],
        ADAPTING[chosen(adapting, ADAPTING, "--adapting")[0]],
        wanted["repeats"],
        calm,
    )
    return list(cases)


def wide_console() -> Console:
    """Return a console in which a table's line is a line, also where output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def report(records: Sequence[Record], folder: Path) -> list[Path]:
    """Print the tables; write them, all numbers and the picture; return what was written."""
    console, rows, said = wide_console(), summarise(records), remarks(records)
    for table in rich_tables(rows):
        console.print(table)
    for line in said:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    text = folder / "table.md"
    kept = {
        "machine": kfgn.machine_record(),
        "rows": [asdict(row) for row in rows],
        "remarks": said,
    }
    written = [write_json(folder / "results.json", {**kept, "records": records}), text]
    text.write_text(markdown(rows, said), encoding="utf-8")
    return [*written, draw_bars(rows, folder / "bars.png")] if rows else written


def main(
    nets: Annotated[str, typer.Option(help=f"Of {FULL['nets']}.")] = "",
    systems: Annotated[str, typer.Option(help=f"Of {FULL['systems']}.")] = "",
    backends: Annotated[str, typer.Option(help="Of ours: jax, numba, c.")] = "",
    methods: Annotated[str, typer.Option(help=f"Of {FULL['methods']}.")] = "",
    refresh: Annotated[str, typer.Option(help="Updates between inversions, of 1,5,10,20.")] = "",
    adapting: Annotated[
        str, typer.Option(help="Step length and damping of ours adapt: on, off or both.")
    ] = "both",
    repeats: Annotated[int, typer.Option(help="Timed samples; 15, or 5 if quick.", min=0)] = 0,
    runs: Annotated[int, typer.Option(help="How often all is measured.", min=1)] = 1,
    quick: Annotated[bool, typer.Option(help="What is not chosen is a small choice.")] = False,
    fresh: Annotated[bool, typer.Option(help="Measure again what is there.")] = False,
    calm: Annotated[
        bool, typer.Option(help="Under JAX, one thread for SciPy's LAPACK, as in the demo.")
    ] = True,
    parts: Annotated[bool, typer.Option(help="Show what the limits are made of.")] = False,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = OUTPUT,
) -> None:
    """Measure what is missing, one file a case and run; then write tables, numbers, picture."""
    given = {
        "nets": nets,
        "systems": systems,
        "backends": backends,
        "methods": methods,
        "refresh": refresh,
        "repeats": repeats,
    }
    wanted = {name: value or (QUICK if quick else FULL)[name] for name, value in given.items()}
    cases = wanted_cases(wanted, adapting, calm)
    records = measure_all(cases, runs, output / "runs", fresh)
    if parts:
        wide_console().print(breakdown_table(cases))
    for path in report(records, output):
        print(f"Wrote {path}")
    stop_if_failed(records)


if __name__ == "__main__":
    typer.run(main)
