"""``python -m experiments.benchmarks.gpu``: the update on JAX's device, predicted and measured.

For inverses by Cholesky and by products alone, products in float32 and in TF32, everything at
every update and the default schedule: milliseconds an update in a compiled loop and called one by
one, the kernels that ran and their time, added up though they run side by side, the loss that the
updates end at, and what operations and kernels predict. It runs on any device that JAX has, but
its numbers are of interest on a GPU. It needs no network: ``--mnist`` takes MNIST where it is at
hand, else the images are random.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import kfgn_graph as kfgn
from experiments.benchmarks.flops import Work, totals, update_terms
from experiments.benchmarks.kernels import kernels_of
from experiments.benchmarks.systems import FACTORS_EVERY, FIRST, REFRESH_EVERY
from experiments.networks import PAPER_HIDDEN, autoencoder
from experiments.records import write_json

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "benchmarks" / "gpu.json"
PIXELS = 784
PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32"}
INVERSES = ("cholesky", "newton-schulz")
SCHEDULES = {"fresh": (1, 1), "default": (FACTORS_EVERY, REFRESH_EVERY)}
WARM_STEPS = 3
"""Of Newton-Schulz from the last inverse, for the prediction: two products each, and two more."""
EXACT = "TF32_TF32_F32_X3"
"""What Newton-Schulz's products are taken in on a GPU, whatever others are."""
CHAIN = 200
"""Kernels of which the time of one is measured."""


@dataclass(frozen=True)
class Rates:
    """What the device does: operations a second in great products, seconds a small kernel.

    Attributes
    ----------
    flops, exact : float
        In products of the precision in force, and in those of Newton-Schulz.
    launch : float
    """

    flops: float
    exact: float
    launch: float


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call, waiting for its result."""
    jax.block_until_ready(call())
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measured_rates(size: int, repeats: int) -> Rates:
    """Measure products of great matrices, and a chain of kernels that do little."""
    a, x = jnp.ones((size, size), jnp.float32), jnp.ones(8)
    flops = 2.0 * size**3 / median_seconds(lambda: multiplied(a), repeats)
    exact = flops
    if jax.default_backend() != "cpu":
        with jax.default_matmul_precision(EXACT):
            exact = 2.0 * size**3 / median_seconds(lambda: multiplied(a), repeats)
    return Rates(flops, exact, median_seconds(lambda: little(x), repeats) / CHAIN)


@jax.jit
def multiplied(a: Any) -> Any:
    """Return a product of two great matrices."""
    return a @ a


@jax.jit
def little(x: Any) -> Any:
    """Do next to nothing, in so many kernels."""
    for _ in range(CHAIN):
        x = jax.lax.optimization_barrier(x + 1)
    return x


def predicted_seconds(
    sizes: Sequence[int], batch: int, inverse: str, schedule: str, launches: float, rates: Rates
) -> float:
    """Return the time that the operations and kernels of an update take at the device's rates."""
    factors_every, refresh_every = SCHEDULES[schedule]
    groups = kfgn.Rescaling().groups
    examples = min(kfgn.Rescaling().examples or batch, batch)
    work = Work("kfra", factors_every, refresh_every, True, groups, examples)
    terms, iterations = update_terms(sizes, batch, work), 0.0
    if inverse == "newton-schulz":
        widths = [n for d, g in pairwise(sizes) for n in (d + 1, g)]
        iterations = (4 * WARM_STEPS + 4) * sum(float(n) ** 3 for n in widths) / refresh_every
        terms = [t for t in terms if t.name not in ("inverses", "Cholesky")]
    operations = totals(terms)[0]
    return operations / rates.flops + iterations / rates.exact + launches * rates.launch


def measure(
    data: np.ndarray, hidden: Sequence[int], batch: int, updates: int, repeats: int, **case: str
) -> dict[str, Any]:
    """Measure one case; see the module."""
    factors_every, refresh_every = SCHEDULES[case["schedule"]]
    with jax.default_matmul_precision(PRECISIONS[case["precision"]]):
        network = autoencoder(data.shape[1], tuple(hidden))
        update = kfgn.compile_update(
            network.loss,
            network.parameters,
            network.inputs,
            inverse=case["inverse"],
            factors_every=factors_every,
            refresh_every=refresh_every,
            backend="jax",
        )
        rng = np.random.default_rng(0)
        orders = [rng.permutation(len(data))[:batch] for _ in range(2 * updates)]
        held, (first, second) = jax.device_put(data), np.stack(orders).reshape(2, updates, batch)
        start = time.perf_counter()
        jax.block_until_ready(update.many([held], first).loss)
        compiled = time.perf_counter() - start
        losses = np.asarray(update.many([held], second).loss)
        loop = median_seconds(lambda: update.many([held], second).loss, repeats) / updates
        kernels = kernels_of(lambda: update.many([held], second).loss)
        given = held[first[0]]
        calls = median_seconds(lambda: [update(given).loss for _ in range(updates)][-1], repeats)
        rates = measured_rates(4 * max(hidden), repeats)
    sizes = [data.shape[1], *hidden, data.shape[1]]
    each = kernels.count / updates
    expected = predicted_seconds(sizes, batch, case["inverse"], case["schedule"], each, rates)
    return {
        **case,
        "predicted_ms": 1e3 * expected,
        "loop_ms": 1e3 * loop,
        "busy_ms": 1e3 * kernels.busy / updates,
        "kernels": each,
        "calls_ms": 1e3 * calls / updates,
        "first_call_s": compiled,
        "loss": float(losses[-min(10, updates) :].mean()),
        "tflops": rates.flops / 1e12,
        "exact_tflops": rates.exact / 1e12,
        "launch_us": 1e6 * rates.launch,
    }


def report(results: Sequence[dict[str, Any]]) -> None:
    """Print the cases, a line each."""
    table = Table(title=f"One update on {jax.devices()[0].device_kind}")
    for name in results[0]:
        table.add_column(name)
    for row in results:
        table.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=140).print(table)


def main(
    batch: Annotated[int, typer.Option(help="Examples a batch.", min=2)] = 1000,
    hidden: Annotated[str, typer.Option(help="Widths.")] = ",".join(map(str, PAPER_HIDDEN)),
    updates: Annotated[int, typer.Option(help="Updates in a loop.", min=FIRST)] = 100,
    repeats: Annotated[int, typer.Option(help="Loops that are timed.", min=1)] = 5,
    examples: Annotated[int, typer.Option(help="Images, where they are random.", min=2)] = 10_000,
    mnist: Annotated[bool, typer.Option(help="Train on MNIST.")] = False,
    inverses: Annotated[str, typer.Option(help="Of cholesky, newton-schulz.")] = ",".join(
        INVERSES
    ),
    output: Annotated[Path, typer.Option(help="File of the results.")] = OUTPUT,
) -> None:
    """Measure every case and print it."""
    random = np.random.default_rng(1).random((examples, PIXELS), np.float32)
    data = kfgn.load_data("mnist", count=50_000).inputs if mnist else random
    widths = [int(part) for part in hidden.split(",")]
    record = {"device": jax.devices()[0].device_kind, "machine": kfgn.machine_record()}
    results: list[dict[str, Any]] = []
    for values in product(inverses.split(","), PRECISIONS, SCHEDULES):
        case = dict(zip(("inverse", "precision", "schedule"), values, strict=True))
        results.append(measure(data, widths, batch, updates, repeats, **case))
        write_json(output, {**record, "cases": results})
    report(results)
    print(f"Wrote {output}")


if __name__ == "__main__":
    typer.run(main)
