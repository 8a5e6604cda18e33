"""``python -m experiments.defaults``: do the missing runs, then tabulate and draw all."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import kfgn_graph as kfgn
from experiments.defaults.pictures import draw_panels
from experiments.defaults.problems import PROBLEMS
from experiments.defaults.runs import METHODS, read_runs, run_tasks, tasks
from experiments.defaults.summary import exceptions, markdown, summarise, verdict
from experiments.records import write_json

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "defaults"


def chosen(text: str, known: Iterable[str], option: str) -> list[str]:
    """Read names separated by commas; refuse one that is not known."""
    names = [name.strip() for name in text.split(",")]
    listed = list(known)
    for name in names:
        if name not in listed:
            raise typer.BadParameter(
                f"there is no {name!r}; there are {', '.join(listed)}", param_hint=option
            )
    return names


def report(folder: Path, console: Console) -> list[Path]:
    """Tabulate and draw all runs of a folder; returns what was written."""
    records = read_runs(folder / "runs")
    if not records:
        console.print("There are no runs.")
        return []
    rows = summarise(records)
    table = markdown(rows)
    judged = verdict(records)
    console.print(table, soft_wrap=True, highlight=False, markup=False)
    console.print(judged, highlight=False, markup=False)
    written = folder / "table.md"
    written.write_text(f"{table}\n{judged}\n", encoding="utf-8")
    kept = {"rows": [asdict(row) for row in rows], "exceptions": exceptions(records)}
    return [
        written,
        write_json(folder / "results.json", {**kept, "machine": kfgn.machine_record()}),
        draw_panels(rows, "updates", folder / "losses-by-updates.png"),
        draw_panels(rows, "seconds", folder / "losses-by-seconds.png"),
    ]


def main(
    problems: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(PROBLEMS),
    methods: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(METHODS),
    seeds: Annotated[str, typer.Option(help="As 0,1,2; by default each problem's own.")] = "",
    rates: Annotated[
        str, typer.Option(help="As 0.01,0.1, for the first-order methods chosen.")
    ] = "",
    backend: Annotated[str, typer.Option(help="auto, jax, numba or c.")] = "auto",
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = OUTPUT,
    fresh: Annotated[bool, typer.Option(help="Do runs again that are there.")] = False,
    train: Annotated[bool, typer.Option(help="Or only tabulate what is there.")] = True,
) -> None:
    """Train what is missing, one file a run; then write the table, numbers and pictures."""
    console = Console()
    named = chosen(problems, PROBLEMS, "--problems")
    wanted = list(
        tasks(
            [PROBLEMS[name] for name in named],
            chosen(methods, METHODS, "--methods"),
            [int(part) for part in seeds.split(",")] if seeds else None,
            [float(part) for part in rates.split(",")] if rates else None,
        )
    )
    if backend not in ("auto", "jax", "numba", "c"):
        raise typer.BadParameter(f"there is no backend {backend!r}", param_hint="--backend")
    if train:
        if fresh:
            for task in wanted:
                (output / "runs" / f"{task.stem}.json").unlink(missing_ok=True)
        run_tasks(wanted, output / "runs", console, backend)  # type: ignore[arg-type]
    for path in report(output, console):
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    typer.run(main)
