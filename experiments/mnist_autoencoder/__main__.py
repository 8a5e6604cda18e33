"""``python -m experiments.mnist_autoencoder``: KFRA against Adam at its best constant rate."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.mnist_autoencoder.run import CheckConfig, run_check
from experiments.optimisers import GaussNewton

DEFAULTS = CheckConfig()
RATES = ",".join(f"{rate:g}" for rate in DEFAULTS.rates)


def parse_rates(text: str) -> tuple[float, ...]:
    """Read the grid of rates, as ``3e-4,1e-3``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers, as 3e-4,1e-3") from None


def main(
    updates: Annotated[int, typer.Option(help="Updates a run.", min=2)] = DEFAULTS.updates,
    rates: Annotated[str, typer.Option(help="Adam's constant rates.")] = RATES,
    damping: Annotated[
        float, typer.Option(help="KFRA's damping.", min=0.0)
    ] = DEFAULTS.kfra.damping,
    step: Annotated[float, typer.Option(help="KFRA's step length.")] = DEFAULTS.kfra.step,
    decay: Annotated[
        float, typer.Option(help="Decay of KFRA's averages.", min=0.0)
    ] = DEFAULTS.kfra.curvature_decay,
    batch: Annotated[int, typer.Option(help="Examples a batch.", min=2)] = DEFAULTS.batch,
    backend: Annotated[str, typer.Option(help="auto, jax, numba or c.")] = DEFAULTS.backend,
    output: Annotated[Path, typer.Option(help="Folder of results.json.")] = DEFAULTS.output,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = DEFAULTS.seed,
) -> None:
    """Train MNIST's autoencoder with KFRA and with Adam at each rate; compare the losses."""
    if backend not in ("auto", "jax", "numba", "c"):
        raise typer.BadParameter(f"there is no backend {backend!r}", param_hint="--backend")
    run_check(
        CheckConfig(
            updates=updates,
            rates=parse_rates(rates),
            kfra=GaussNewton(damping=damping, step=step, curvature_decay=decay),
            batch=batch,
            backend=backend,  # type: ignore[arg-type]
            output=output,
            seed=seed,
        )
    )


if __name__ == "__main__":
    typer.run(main)
