"""``python -m experiments.autoencoder``: the paper's autoencoder on MNIST, in numbers."""

from itertools import product
from pathlib import Path
from typing import Annotated, get_args

import typer

from experiments.autoencoder.run import Config, run_all
from experiments.networks import Activation
from experiments.optimisers import CURVATURES, GaussNewton

DEFAULTS = Config()
PEERS = ("kfac-jax",)


def parse_rates(text: str) -> tuple[float, ...]:
    """Read a grid of rates, as ``3e-4,1e-3``; nothing is an empty grid."""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers, as 3e-4,1e-3") from None


def parse_methods(methods: str, refresh: str, average: bool) -> tuple[GaussNewton, ...]:
    """Combine the methods with the periods of inversion; no period is the package's default."""
    names = [name.strip() for name in methods.split(",") if name.strip()]
    for name in names:
        if name not in CURVATURES:
            raise typer.BadParameter(f"no method {name!r}; there are {', '.join(CURVATURES)}")
    try:
        periods: list[int | None] = [int(part) for part in refresh.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(f"{refresh!r} is not a list of whole numbers") from None
    return tuple(
        GaussNewton(name, refresh_every=period, average=average)  # type: ignore[arg-type]
        for name, period in product(names, periods or [None])
    )


def one_of(value: str, known: tuple[str, ...], option: str) -> str:
    """Refuse what is not known."""
    if value not in known:
        raise typer.BadParameter(
            f"there is no {value!r}; there are {', '.join(known)}", param_hint=option
        )
    return value


def main(
    activation: Annotated[str, typer.Option(help="tanh, relu or sigmoid.")] = "tanh",
    updates: Annotated[int, typer.Option(help="Updates a run.", min=2)] = DEFAULTS.updates,
    method: Annotated[
        str, typer.Option(help="kfra, kflr, kfac, hessianfree; several by commas.")
    ] = "kfra",
    refresh: Annotated[
        str, typer.Option(help="Updates between inversions, as 1,5,20; by default the package's.")
    ] = "",
    average: Annotated[bool, typer.Option(help="Evaluate averaged iterates as well.")] = False,
    peer: Annotated[str, typer.Option(help="Another library to run: kfac-jax.")] = "",
    adam_rates: Annotated[str, typer.Option(help="Adam's rates, as 3e-4,1e-3.")] = "",
    adam_period: Annotated[
        float, typer.Option(help="Adam's rate halves in so many shares of the run; 1: never.")
    ] = DEFAULTS.adam_period,
    batch: Annotated[int, typer.Option(help="Examples a batch.", min=2)] = DEFAULTS.batch,
    backend: Annotated[str, typer.Option(help="auto, jax, numba or c.")] = DEFAULTS.backend,
    python: Annotated[str | None, typer.Option(help="For the peer's environment.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = DEFAULTS.output,
    name: Annotated[str, typer.Option(help="Of the result's files.")] = DEFAULTS.name,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = DEFAULTS.seed,
) -> None:
    """Train MNIST's autoencoder; print the losses beside the targets, write and draw them."""
    one_of(activation, get_args(Activation), "--activation")
    one_of(backend, ("auto", "jax", "numba", "c"), "--backend")
    if peer:
        one_of(peer, PEERS, "--peer")
    methods = parse_methods(method, refresh, average)
    rates = parse_rates(adam_rates)
    if not methods and not rates and not peer:
        raise typer.BadParameter("there is nothing to run", param_hint="--method")
    run_all(
        Config(
            methods=methods,
            activation=activation,  # type: ignore[arg-type]
            updates=updates,
            adam_rates=rates,
            adam_period=adam_period,
            peer=bool(peer),
            batch=batch,
            backend=backend,  # type: ignore[arg-type]
            python=python,
            output=output,
            name=name,
            seed=seed,
        )
    )


if __name__ == "__main__":
    typer.run(main)
