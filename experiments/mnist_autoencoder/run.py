"""MNIST's first 50,000 images, the paper's autoencoder, equal updates for every method.

What is compared is the cross-entropy over the whole training set, in nats, summed over pixels,
after the last update.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from experiments.comparison import compare
from experiments.datasets import load_mnist
from experiments.datasets.dataset import bernoulli_floor
from experiments.machine import machine_record, write_json
from experiments.networks import autoencoder
from experiments.optimisers import Adam, Backend, GaussNewton
from experiments.tables import results_table
from experiments.training import Budget, Run

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "mnist_autoencoder"
COUNT = 50_000


@dataclass(frozen=True)
class CheckConfig:
    """Settings; the defaults are the check as it is stated.

    Attributes
    ----------
    updates : int
        Of every run.
    rates : tuple of float
        Adam's constant rates.
    kfra : GaussNewton
        KFRA's constants.
    batch : int
        Examples a batch.
    backend : {"auto", "jax", "numba", "c"}
        For all runs.
    output : Path
        Folder of ``results.json``.
    seed : int
        Of weights and batches, the same for all runs.
    """

    updates: int = 200
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)
    kfra: GaussNewton = field(default_factory=GaussNewton)
    batch: int = 1000
    backend: Backend = "auto"
    output: Path = OUTPUT
    seed: int = 0


def run_check(config: CheckConfig, console: Console | None = None) -> list[Run]:
    """Train with KFRA and with Adam at each rate; print a table and write the numbers.

    Parameters
    ----------
    config : CheckConfig
        Settings.
    console : rich.console.Console, optional
        Where to print; standard output by default.

    Returns
    -------
    list of Run
        KFRA's first, then one a rate.

    Raises
    ------
    DataNotFound, DataCorrupt
        MNIST is not to be had.
    """
    console = console or Console()
    data = load_mnist(count=COUNT)
    floor = bernoulli_floor(data.inputs)
    network = autoencoder(data.inputs.shape[1], seed=config.seed)
    runs = list(
        compare(
            [config.kfra, *(Adam(rate) for rate in config.rates)],
            network,
            data.inputs,
            Budget(updates=config.updates),
            console,
            config.batch,
            config.backend,
            config.seed,
            parts=4,
        )
    )
    console.print(results_table(runs, floor, data.name))
    console.print(verdict(runs), highlight=False)
    path = write_json(config.output / "results.json", _record(config, floor, runs))
    console.print(f"Wrote {path}", soft_wrap=True, highlight=False)
    return runs


def verdict(runs: Sequence[Run]) -> str:
    """Say which method's final loss is lower, and where Adam's best rate lies in its grid."""
    kfra, *adams = runs
    best = min(adams, key=lambda run: run.final.loss)
    inside = best not in (adams[0], adams[-1])
    sign = "below" if kfra.final.loss < best.final.loss else "NOT below"
    return (
        f"KFRA's {kfra.final.loss:.2f} nats after {kfra.updates} updates are {sign} Adam's "
        f"{best.final.loss:.2f} at its best {best.settings}, which lies "
        f"{'inside' if inside else 'AT THE EDGE of'} the grid."
    )


def _record(config: CheckConfig, floor: float, runs: list[Run]) -> dict[str, object]:
    return {
        "config": {**asdict(config), "output": str(config.output)},
        "floor": floor,
        "runs": [asdict(run) for run in runs],
        "verdict": verdict(runs),
        "machine": machine_record(),
    }
