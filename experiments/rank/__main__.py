"""``python -m experiments.rank``: ranks of curvature against their bounds, and spectra."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

import kfgn_graph as kfgn
from experiments.rank.losses import LOSSES
from experiments.rank.pictures import draw_ranks, draw_spectra
from experiments.rank.study import Record, Setup, count_ranks, mixture_hessians, spectra
from experiments.rank.summary import markdown, write_spectra
from experiments.records import write_json

FOLDER = Path(__file__).resolve().parent
SPECTRA = ("softmax", "mixture")
DEFAULTS = Setup()


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Read whole numbers separated by commas."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list as 1,8", param_hint=option) from None


def run_study(setup: Setup, console: Console) -> tuple[list[Record], Record, list[Record]]:
    """Return the ranks, the look at the mixture, and the spectra, with a progress bar."""
    ranks: list[Record] = []
    spectrum: list[Record] = []
    counts = tuple(sorted({setup.counts[len(setup.counts) // 2 - 1], setup.counts[-1]}))
    with Progress(console=console) as progress:
        total = len(LOSSES) * len(setup.seeds) + 2 * len(SPECTRA)
        task = progress.add_task("Ranks", total=total)
        for name in LOSSES:
            for seed in setup.seeds:
                ranks += count_ranks(name, setup, seed)
                progress.advance(task)
        progress.update(task, description="Spectra")
        for name in SPECTRA:
            spectrum += spectra(name, setup, counts, lambda _: progress.advance(task))
    return ranks, mixture_hessians(setup, setup.seeds[0]), spectrum


def main(
    counts: Annotated[
        str, typer.Option(help="Numbers of examples, separated by commas.")
    ] = ",".join(map(str, DEFAULTS.counts)),
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = ",".join(
        map(str, DEFAULTS.seeds)
    ),
    updates: Annotated[
        int, typer.Option(help="Of KFLR before the spectra of a trained network.", min=1)
    ] = DEFAULTS.updates,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = FOLDER,
) -> None:
    """Take the ranks of the Gauss-Newton matrix and its approximations; draw and tabulate."""
    console = Console()
    setup = Setup(
        counts=numbers(counts, "--counts"), seeds=numbers(seeds, "--seeds"), updates=updates
    )
    ranks, mixture, spectrum = run_study(setup, console)
    tables = markdown(ranks, mixture)
    console.print(tables, soft_wrap=True, highlight=False, markup=False)
    output.mkdir(parents=True, exist_ok=True)
    (output / "table.md").write_text(tables, encoding="utf-8")
    kept = {"setup": asdict(setup), "ranks": ranks, "mixture": mixture}
    paths = (
        output / "table.md",
        write_json(output / "results.json", {**kept, "machine": kfgn.machine_record()}),
        write_spectra(spectrum, output / "spectra.csv"),
        draw_ranks(ranks, output / "ranks.png"),
        draw_spectra(spectrum, output / "spectra.png"),
    )
    for path in paths:
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    typer.run(main)
