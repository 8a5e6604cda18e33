"""``python -m experiments.physics``: the kernel form, Adam and L-BFGS on two equations."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.physics.methods import METHODS, Curve
from experiments.physics.pictures import draw
from experiments.physics.problems import EQUATIONS, Problem, grid
from experiments.records import write_json

FOLDER = Path(__file__).resolve().parent


def main(
    equation: Annotated[
        list[str] | None, typer.Argument(help="poisson, heat; all by default")
    ] = None,
    width: Annotated[int, typer.Option(help="Units of a hidden layer.", min=1)] = 64,
    hidden: Annotated[int, typer.Option(help="Hidden layers.", min=1)] = 2,
    side: Annotated[int, typer.Option(help="Points of a side of the grid.", min=2)] = 20,
    updates: Annotated[int, typer.Option(help="Of the kernel form.", min=20)] = 300,
    seconds: Annotated[float, typer.Option(help="Of Adam and of L-BFGS.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of the initial parameters.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = FOLDER,
) -> None:
    """Solve each equation by each method; write curves and pictures."""
    console = Console()
    for name in equation or list(EQUATIONS):
        curves: list[Curve] = []
        for label, train in METHODS.items():
            problem = Problem(EQUATIONS[name], width, hidden, side, seed)
            curves.append(train(problem, updates, seconds))
            last = curves[-1]
            console.print(
                f"{name:8} {label:7} {last.updates[-1]:7} updates {last.seconds[-1]:6.1f} s "
                f"(+ {last.compile_seconds:.0f} s to compile)  error {last.errors[-1]:.2e}"
            )
            if label == "kernel":
                u = problem.solution(grid())
                difference = u - problem.equation.exact(grid())
        output.mkdir(parents=True, exist_ok=True)
        draw(curves, u, difference, output / f"{name}.png")
        write_json(output / f"{name}.json", {"curves": [asdict(curve) for curve in curves]})


if __name__ == "__main__":
    typer.run(main)
