"""Train both methods from the same weights on the same batches, then show what came of it."""

import time
from dataclasses import asdict

import numpy as np
import pytensor
from rich.console import Console

import kfgn_graph as kfgn
from experiments.backends import backend_mode, resolve_backend
from experiments.comparison import compare
from experiments.demo.config import DemoConfig
from experiments.demo.pictures import draw_losses, draw_reconstructions
from experiments.networks import autoencoder
from experiments.records import write_json
from experiments.runs import Budget, Run
from experiments.tables import results_table

SHOWN = 12
MNIST_COUNT = 50_000


def run_demo(config: DemoConfig, console: Console | None = None) -> list[Run]:
    """Run the demo.

    Parameters
    ----------
    config : DemoConfig
        Settings.
    console : rich.console.Console, optional
        Where to print; standard output by default.

    Returns
    -------
    list of Run
        KFRA's and Adam's.
    """
    console = console or Console()
    begun = time.perf_counter()
    data = load_dataset(config.dataset, console)
    floor = data.entropy()
    network = autoencoder(data.inputs.shape[1], config.hidden, seed=config.seed)
    _introduce(config, data, floor, console)
    runs, pictures = train_each(network, data.inputs, config, console)
    shown = data.inputs[:SHOWN]
    paths = [
        draw_losses(runs, floor, data.name, config.output / "losses.png"),
        draw_reconstructions(shown, pictures, config.output / "reconstructions.png"),
        write_json(config.output / "results.json", _record(config, data, floor, runs)),
    ]
    console.print(results_table(runs, floor, data.name))
    for path in paths:
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False)
    console.print(f"All of it took {time.perf_counter() - begun:.0f} s.", highlight=False)
    return runs


def load_dataset(name: str, console: Console) -> kfgn.Dataset:
    """Load the training images; for ``"auto"`` MNIST, or CURVES where MNIST is not to be had.

    Raises
    ------
    DataNotFound
        The data set named is not to be had.
    DataCorrupt
        A file found is not the known one.
    """
    if name not in ("auto", "mnist"):
        return kfgn.load_data(name)
    try:
        return kfgn.load_data("mnist", count=MNIST_COUNT)
    except kfgn.DataNotFound as error:
        if name != "auto":
            raise
        console.print(f"{error}\nSo the demo runs on CURVES, generated here.", style="yellow")
        return kfgn.load_data("curves")


def train_each(
    network: kfgn.Network, inputs: np.ndarray, config: DemoConfig, console: Console
) -> tuple[list[Run], dict[str, np.ndarray]]:
    """Train with each method and let each trained network reconstruct the first images.

    Returns
    -------
    runs : list of Run
        One a method.
    reconstructions : dict
        Method name to an array like the images.
    """
    reconstruct = pytensor.function(
        list(network.inputs), network.reconstruction, mode=backend_mode(config.backend)
    )
    runs, reconstructions = [], {}
    for run in compare(
        (config.kfra, config.adam),
        network,
        [inputs],
        Budget(config.updates, config.seconds),
        console,
        config.batch,
        config.backend,
        config.seed,
    ):
        runs.append(run)
        reconstructions[run.name] = np.asarray(reconstruct(inputs[:SHOWN]))
    return runs, reconstructions


def _introduce(config: DemoConfig, data: kfgn.Dataset, floor: float, console: Console) -> None:
    widths = "-".join(map(str, (data.inputs.shape[1], *config.hidden, data.inputs.shape[1])))
    console.print(
        f"Autoencoder {widths}, tanh, on {len(data.inputs)} images of {data.name}: {data.source}\n"
        f"Backend {resolve_backend(config.backend)}, batches of {config.batch}, "
        f"{config.seconds:g} s of training a method. Cross-entropy in nats, summed over pixels; "
        f"no model gets below {floor:.2f}, the entropy of the images.",
        highlight=False,
    )


def _record(
    config: DemoConfig, data: kfgn.Dataset, floor: float, runs: list[Run]
) -> dict[str, object]:
    return {
        "config": {**asdict(config), "output": str(config.output)},
        "dataset": {"name": data.name, "source": data.source, "examples": len(data.inputs)},
        "floor": floor,
        "runs": [asdict(run) for run in runs],
    }
