"""``python -m experiments.figure1``: draw the surfaces and look for smooth maxima."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

import kfgn_graph as kfgn
from experiments.figure1.maxima import Findings, block_hessian_error, examine, search
from experiments.figure1.page import write_page
from experiments.figure1.panels import Setup, batch_of, panels
from experiments.figure1.pictures import draw_surfaces
from experiments.figure1.planes import PlaneFunction
from experiments.figure1.surfaces import surface
from experiments.records import write_json
from experiments.small_networks import small_network

FOLDER = Path(__file__).resolve().parent
SEARCHED = ("relu", "leaky", "tanh")
COMPARED = 200
Row = dict[str, object]


def draw(setup: Setup, output: Path, compared: int = COMPARED) -> tuple[list[Row], list[Path]]:
    """Draw the three panels; returns what each panel's grid says, and the files written."""
    network = small_network("relu", "squared", 2)
    evaluate, batch = PlaneFunction(network), batch_of(setup)
    surfaces = [surface(panel, evaluate, batch, setup) for panel in panels(setup)]
    rows: list[Row] = []
    for shown in surfaces:
        error = block_hessian_error(shown.panel, network, batch, setup, compared)
        found = {"panel": shown.panel.name, **asdict(examine(shown.values))}
        rows.append({**found, "block_hessian_error": error})
    pictures = [
        draw_surfaces(surfaces, output / "surfaces.png"),
        write_page(surfaces, output / "surfaces.html"),
    ]
    return rows, pictures


def sweep(setup: Setup, planes: int, console: Console) -> list[Row]:
    """Search random planes for maxima, with ReLU, max(0.1x, x) and tanh."""
    cases = [(name, one_layer) for name in SEARCHED for one_layer in (True, False)]
    rows: list[Row] = []
    for name, one_layer in track(cases, "Random planes", console=console):
        found: Findings = search(name, one_layer, planes, setup)
        plane = "within W1" if one_layer else "x in W1, y in W2"
        rows.append({"activation": name, "plane": plane, "planes": planes, **asdict(found)})
    return rows


def markdown(rows: list[Row]) -> str:
    """Return rows as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("|" + "---|" * len(names))
    for row in rows:
        cells = (f"{v:.1e}" if isinstance(v, float) else f"{v}" for v in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(
    planes: Annotated[int, typer.Option(help="Random planes for each search.", min=1)] = 200,
    points: Annotated[int, typer.Option(help="Grid points a side; an odd number.", min=5)] = 61,
    seed: Annotated[int, typer.Option(help="Of data, network and directions.", min=0)] = 3,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = FOLDER,
) -> None:
    """Draw Figure 1, write its interactive page, and look for smooth maxima on grids."""
    console, setup = Console(), Setup(points=points, seed=seed)
    rows, written = draw(setup, output)
    searched = sweep(setup, planes, console)
    for table in (rows, searched):
        console.print(markdown(table), soft_wrap=True, highlight=False, markup=False)
    record = {
        "setup": asdict(setup),
        "panels": rows,
        "random_planes": searched,
        "machine": kfgn.machine_record(),
    }
    for path in (*written, write_json(output / "results.json", record)):
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    typer.run(main)
