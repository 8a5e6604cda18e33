"""``python -m experiments.tied``: tied autoencoders, by both settings of ``tying`` and by Adam."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import kfgn_graph as kfgn
from experiments.training import shuffled_batches

NETWORKS = {
    "784-256-784": (784, 256, 784),
    "784-400-100-400-784": (784, 400, 100, 400, 784),
}
#: The updates after which the losses are tabulated.
SHOWN = (25, 50, 100, 200)
#: The number of updates that a mean loss covers.
WINDOW = 10


@dataclass(frozen=True)
class Row:
    """What one method reached on one network."""

    network: str
    method: str
    losses: list[float]
    usual: float
    refresh: float


def methods(backend: str) -> dict[str, Callable[[kfgn.Network], Any]]:
    """Return a function from a network to its compiled update, for each method."""
    found: dict[str, Callable[[kfgn.Network], Any]] = {}
    for curvature in (kfgn.KFRA, kfgn.KFAC):
        for tying in ("sum", "nearest"):
            found[f"{curvature.__name__}(tying='{tying}')"] = lambda net, c=curvature, t=tying: (
                kfgn.compile_update(
                    net.loss, net.parameters, net.inputs, method=c(tying=t), backend=backend
                )
            )
    found["Adam(1e-3)"] = lambda net: kfgn.compile_first_order(
        net.loss, net.parameters, net.inputs, "adam", 1e-3, backend=backend
    )
    return found


def trained(update: Any, images: np.ndarray, batch: int, seed: int) -> tuple[list[float], Any]:
    """Return the loss and the seconds of every update; the first, which compiles, is repeated."""
    batches = shuffled_batches([images], batch, seed)
    losses, seconds = [], []
    for _ in range(max(SHOWN) + 1):
        arrays = next(batches)
        start = time.perf_counter()
        stats = update(*arrays)
        losses.append(float(getattr(stats, "loss", stats)))
        seconds.append(time.perf_counter() - start)
    return losses[1:], np.array(seconds[1:])


def row(network: str, method: str, build: Any, batch: int, seeds: int) -> Row:
    """Train from several seeds; losses are means over the seeds and over ``WINDOW`` updates."""
    images = kfgn.load_data("mnist").inputs
    curves, usual, refresh = [], [], []
    for seed in range(seeds):
        net = kfgn.perceptron(NETWORKS[network], "bernoulli", targets=False, tied=True, seed=seed)
        losses, seconds = trained(build(net), images, batch, seed)
        curves.append([float(np.mean(losses[n - WINDOW : n])) for n in SHOWN])
        late = np.sort(seconds[60:])
        # every tenth update inverts, and every fifth estimates factors: the median does neither
        usual.append(float(np.median(late)))
        refresh.append(float(np.mean(late[-len(late) // 10 :])))
    means = np.mean(curves, axis=0).tolist()
    return Row(network, method, means, float(np.mean(usual)), float(np.mean(refresh)))


def table(rows: list[Row]) -> str:
    """Return the Markdown table of all rows."""
    head = ["network", "method", *(f"loss at {n}" for n in SHOWN), "ms", "ms, tenth update"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in rows:
        numbers = [f"{loss:.2f}" for loss in r.losses]
        numbers += [f"{1e3 * r.usual:.0f}", f"{1e3 * r.refresh:.0f}"]
        lines.append("| " + " | ".join([r.network, r.method, *numbers]) + " |")
    return "\n".join(lines)


def main(
    output: Annotated[Path, typer.Option(help="File of the table.")] = Path(
        "experiments/output/tied/table.md"
    ),
    batch: Annotated[int, typer.Option(help="Examples a batch.", min=2)] = 1000,
    seeds: Annotated[int, typer.Option(help="Initialisations of each network.", min=1)] = 2,
    backend: Annotated[str, typer.Option(help="jax, numba or c.")] = "jax",
    network: Annotated[str, typer.Option(help="One of the networks; all by default.")] = "",
    method: Annotated[str, typer.Option(help="Methods whose name begins so.")] = "",
) -> None:
    """Train each network by each method, and write the table of losses and times."""
    rows = []
    for name in [network] if network else NETWORKS:
        for title, build in methods(backend).items():
            if title.startswith(method):
                rows.append(row(name, title, build, batch, seeds))
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(table(rows) + "\n")


if __name__ == "__main__":
    typer.run(main)
