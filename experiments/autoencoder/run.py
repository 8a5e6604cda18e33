"""MNIST's first 50,000 images, the paper's autoencoder: our methods, Adam and kfac-jax.

All start from the same weights and see the same batches. What is compared is the cross-entropy
over the whole training set, in nats, summed over pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import kfgn_graph as kfgn
from experiments.autoencoder.targets import (
    POINTS,
    TARGETS,
    compare_with_targets,
    loss_after_seconds,
    loss_at,
)
from experiments.backends import Backend
from experiments.comparison import compare
from experiments.demo.pictures import draw_losses
from experiments.networks import Activation, autoencoder
from experiments.optimisers import FirstOrder, GaussNewton, Optimiser
from experiments.peers.training import KfacJax
from experiments.records import write_json
from experiments.runs import Budget, Run
from experiments.training import parameter_values

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "autoencoder"
COUNT = 50_000
MOMENTS = (20.0, 50.0, 100.0, 200.0)
"""Seconds of stepping at which the methods are compared as well."""


@dataclass(frozen=True)
class Config:
    """Settings; by default KFRA alone, with the package's defaults.

    Attributes
    ----------
    methods : tuple of GaussNewton
        Ours.
    activation : {"tanh", "relu", "sigmoid"}
        Of the hidden layers.
    updates : int
        Of every run.
    adam_rates : tuple of float
        A run of Adam each.
    adam_period : float
        Adam's halving period, in shares of the run; 1 keeps the rates constant.
    peer : bool
        Whether kfac-jax runs as well.
    batch : int
        Examples a batch.
    backend : {"auto", "jax", "numba", "c"}
        For our methods and Adam.
    python : str or None
        The interpreter that makes kfac-jax's environment.
    output : Path
        Folder of the results.
    name : str
        Of the files in it, without ending.
    seed : int
        Of weights and batches, the same for all runs.
    """

    methods: tuple[GaussNewton, ...] = (GaussNewton(),)
    activation: Activation = "tanh"
    updates: int = 1000
    adam_rates: tuple[float, ...] = ()
    adam_period: float = 1.0
    peer: bool = False
    batch: int = 1000
    backend: Backend = "auto"
    python: str | None = None
    output: Path = OUTPUT
    name: str = "results"
    seed: int = 0

    @property
    def points(self) -> tuple[int, ...]:
        """Updates after which the training set is evaluated."""
        return (*(point for point in POINTS if point < self.updates), self.updates)


def run_all(config: Config, console: Console | None = None) -> list[Run]:
    """Train with every method; print the tables, write the numbers and a picture.

    Parameters
    ----------
    config : Config
        Settings.
    console : rich.console.Console, optional
        Where to print; standard output by default.

    Returns
    -------
    list of Run
        Ours first, then Adam's, then kfac-jax's.

    Raises
    ------
    DataNotFound, DataCorrupt
        MNIST is not to be had.
    RuntimeError
        kfac-jax's side failed.
    """
    console = console or Console()
    data = kfgn.load_data("mnist", count=COUNT)
    floor = data.entropy()
    runs: list[Run] = []
    versions: dict[str, str] = {}
    for run in _train_all(config, data.inputs, console, versions):
        runs.append(run)
        picture = config.output / f"{config.name}.png"
        written = [
            write_json(
                config.output / f"{config.name}.json", _record(config, floor, runs, versions)
            ),
            draw_losses(runs, floor, data.name, picture),
        ]
    console.print(losses_table(runs, config))
    if any(run.final.seconds > MOMENTS[0] for run in runs):
        console.print(seconds_table(runs))
    for run in runs[: len(config.methods)]:
        for line in judgements(run, config.activation):
            console.print(line, highlight=False)
    for path in written:
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)
    return runs


def _train_all(
    config: Config, inputs: np.ndarray, console: Console, versions: dict[str, str]
) -> Iterator[Run]:
    """Yield every run when it is done; kfac-jax's versions go into ``versions``."""
    network = autoencoder(inputs.shape[1], activation=config.activation, seed=config.seed)
    initial = parameter_values(network)
    adams = [
        FirstOrder("adam", rate, config.adam_period, config.updates) for rate in config.adam_rates
    ]
    methods: list[Optimiser] = [*config.methods, *adams]
    yield from compare(
        methods,
        network,
        [inputs],
        Budget(updates=config.updates),
        console,
        config.batch,
        config.backend,
        config.seed,
        at=config.points,
    )
    if config.peer:
        console.print("kfac-jax, in its own environment", highlight=False)
        run, found = KfacJax().train(
            initial,
            inputs,
            config.activation,
            config.updates,
            config.points,
            config.batch,
            config.seed,
            config.python,
            console.print,
        )
        versions.update(found)
        yield run


def losses_table(runs: Sequence[Run], config: Config) -> Table:
    """Tabulate the training-set losses after the stated numbers of updates, nats."""
    targets = TARGETS.get(config.activation, {})
    table = Table(title=f"MNIST autoencoder, {config.activation}: training-set loss, nats")
    table.add_column("method")
    table.add_column("settings")
    for point in config.points:
        table.add_column(str(point), justify="right")
    for heading in ("s an update", "skipped"):
        table.add_column(heading, justify="right")
    stated = [f"{targets[point]:g}" if point in targets else "" for point in config.points]
    table.add_row("target", "KFRA, defaults", *stated, "", "", end_section=True)
    for run in runs:
        losses = [f"{loss_at(run, point):.2f}" for point in config.points]
        pace = run.final.seconds / max(1, run.updates - 1)
        table.add_row(run.name, run.settings, *losses, f"{pace:.3f}", str(run.skipped))
    return table


def seconds_table(runs: Sequence[Run]) -> Table:
    """Tabulate the training-set losses after equal seconds, between evaluations interpolated."""
    table = Table(title="The same after seconds of stepping (interpolated)")
    table.add_column("method")
    table.add_column("settings")
    for moment in MOMENTS:
        table.add_column(f"{moment:g} s", justify="right")
    for run in runs:
        losses = [f"{loss_after_seconds(run, moment):.2f}" for moment in MOMENTS]
        table.add_row(run.name, run.settings, *losses)
    return table


def judgements(run: Run, activation: str) -> Iterator[str]:
    """Yield a line for every target that the run came to."""
    for found in compare_with_targets(run, activation):
        word = "reaches" if found.reached else "MISSES"
        yield (
            f"{run.name} ({run.settings}) {word} {found.target:g} after {found.updates} updates: "
            f"{found.loss:.2f}"
        )


def _record(
    config: Config, floor: float, runs: Sequence[Run], versions: dict[str, str]
) -> dict[str, object]:
    return {
        "config": {**asdict(config), "output": config.output.name},
        "floor": floor,
        "targets": TARGETS.get(config.activation, {}),
        "runs": [asdict(run) for run in runs],
        "peer_versions": versions,
        "machine": kfgn.machine_record(),
    }
