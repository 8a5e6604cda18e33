"""``python -m experiments.demo``: train the autoencoder with KFRA beside Adam."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.demo.config import DATASETS, DemoConfig
from experiments.demo.run import run_demo
from experiments.optimisers import FirstOrder

DEFAULTS = DemoConfig()


def parse_widths(text: str) -> tuple[int, ...]:
    """Read the hidden widths, as ``1000,500,30,500,1000``."""
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of whole numbers, as 64,16,64") from None
    if min(widths) < 1:
        raise typer.BadParameter("every width has to be at least 1")
    return widths


def main(
    seconds: Annotated[
        float, typer.Option(help="Training seconds of each method.", min=0.01)
    ] = DEFAULTS.seconds,
    updates: Annotated[
        int | None, typer.Option(help="At most so many updates of each method.", min=1)
    ] = DEFAULTS.updates,
    dataset: Annotated[
        str, typer.Option(help=f"One of {', '.join(DATASETS)}; auto: MNIST if to be had.")
    ] = DEFAULTS.dataset,
    backend: Annotated[str, typer.Option(help="auto, jax, numba or c.")] = DEFAULTS.backend,
    batch: Annotated[int, typer.Option(help="Examples a batch.", min=2)] = DEFAULTS.batch,
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers.")] = ",".join(
        map(str, DEFAULTS.hidden)
    ),
    rate: Annotated[float, typer.Option(help="Adam's rate.", min=0.0)] = DEFAULTS.adam.rate,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = DEFAULTS.output,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = DEFAULTS.seed,
) -> None:
    """Train the paper's autoencoder with KFRA beside Adam; draw and tabulate both."""
    if dataset not in DATASETS:
        raise typer.BadParameter(f"there is no data set {dataset!r}", param_hint="--dataset")
    if backend not in ("auto", "jax", "numba", "c"):
        raise typer.BadParameter(f"there is no backend {backend!r}", param_hint="--backend")
    run_demo(
        DemoConfig(
            seconds=seconds,
            updates=updates,
            dataset=dataset,
            backend=backend,  # type: ignore[arg-type]
            batch=batch,
            hidden=parse_widths(hidden),
            adam=FirstOrder(rate=rate),
            output=output,
            seed=seed,
        )
    )


if __name__ == "__main__":
    typer.run(main)
