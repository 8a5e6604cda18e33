"""``python -m experiments.benchmarks.gpu``: the update on JAX's device, predicted and measured.

For inverses by Cholesky and by products alone, products in float32 and in TF32, everything at
every update and the default schedule: milliseconds an update in a compiled loop and called one by
one, the loss that the updates end at, and what operations and launches predict. It runs on any
device that JAX has, but its numbers are of interest on a GPU. It needs no network: ``--mnist``
takes MNIST where it is at hand, else the images are random.
"""

import re
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
from experiments.benchmarks.flops import Term, Work, totals, update_terms
from experiments.benchmarks.systems import FACTORS_EVERY, FIRST, REFRESH_EVERY
from kfgn_graph.program.datasets import load_mnist
from kfgn_graph.program.machine import machine_record, write_json
from kfgn_graph.program.networks import PAPER_HIDDEN, autoencoder

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "benchmarks" / "gpu.json"
PIXELS = 784
PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32"}
INVERSES = ("cholesky", "newton-schulz")
SCHEDULES = {"fresh": (1, 1), "default": (FACTORS_EVERY, REFRESH_EVERY)}
WARM_ITERATIONS = 2
"""Of Newton-Schulz from the last inverse, for the prediction: two products each."""
KERNEL = re.compile(r"= \S+ (fusion|custom-call|dot|while|conditional|copy|scatter|sort)\(")


@dataclass(frozen=True)
class Rates:
    """What the device does: operations a second in a great product, seconds a small launch."""

    flops: float
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


def measured_rates(size: int, repeats: int, chain: int = 200) -> Rates:
    """Measure a product of the precision in force, and a chain of launches that do little."""
    a = jnp.ones((size, size), jnp.float32)
    great = median_seconds(lambda: multiplied(a), repeats)

    def launches() -> Any:
        x = jnp.ones(8)
        for _ in range(chain):
            x = small(x)
        return x

    return Rates(2.0 * size**3 / great, median_seconds(launches, repeats) / chain)


@jax.jit
def multiplied(a: Any) -> Any:
    """Return a product of two great matrices."""
    return a @ a


@jax.jit
def small(x: Any) -> Any:
    """Do next to nothing, in one launch."""
    return x + 1


def predicted_seconds(
    sizes: Sequence[int], batch: int, inverse: str, schedule: str, launches: int, rates: Rates
) -> float:
    """Return the time that the operations and launches of an update take at the device's rates."""
    factors_every, refresh_every = SCHEDULES[schedule]
    groups = kfgn.Rescaling().groups
    examples = min(kfgn.Rescaling().examples or batch, batch)
    work = Work("kfra", factors_every, refresh_every, True, groups, examples)
    terms = update_terms(sizes, batch, work)
    if inverse == "newton-schulz":
        widths = [n for d, g in pairwise(sizes) for n in (d + 1, g)]
        cubes = WARM_ITERATIONS * 4.0 * sum(n**3 for n in widths) / refresh_every
        terms = [t for t in terms if t.name not in ("inverses", "Cholesky")]
        terms.append(Term("iterations", cubes, cubes))
    return totals(terms)[0] / rates.flops + launches * rates.launch


def launches_of(update: kfgn.Update, images: np.ndarray) -> int:
    """Count what the compiled update may launch: an upper bound, branches included."""
    function = update.function_for([images])
    shared = [container.storage[0] for container in function.input_storage][1:]
    program = function.vm.jit_fn.lower(images, *shared).compile().as_text()
    return len(KERNEL.findall(program))


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
        rows = np.stack([rng.permutation(len(data))[:batch] for _ in range(FIRST + updates)])
        held = jax.device_put(data)
        first = held[rows[0]]
        start = time.perf_counter()
        float(update(first).loss)
        compiled = time.perf_counter() - start
        update.many([held], rows[:FIRST])
        losses = update.many([held], rows[FIRST:]).loss
        loop = median_seconds(lambda: update.many([held], rows[FIRST:]).loss, repeats) / updates
        calls = median_seconds(lambda: [update(first).loss for _ in range(updates)][-1], repeats)
        rates = measured_rates(4 * max(hidden), repeats)
        launches = launches_of(update, first)
    sizes = [data.shape[1], *hidden, data.shape[1]]
    expected = predicted_seconds(sizes, batch, case["inverse"], case["schedule"], launches, rates)
    return {
        **case,
        "predicted_ms": 1e3 * expected,
        "loop_ms": 1e3 * loop,
        "calls_ms": 1e3 * calls / updates,
        "first_call_s": compiled,
        "loss": float(losses[-min(10, updates) :].mean()),
        "launches": launches,
        "tflops": rates.flops / 1e12,
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
    updates: Annotated[int, typer.Option(help="Updates in a loop.", min=1)] = 100,
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
    data = load_mnist(count=50_000).inputs if mnist else random
    widths = [int(part) for part in hidden.split(",")]
    results = [
        measure(
            data,
            widths,
            batch,
            updates,
            repeats,
            inverse=inverse,
            precision=precision,
            schedule=schedule,
        )
        for inverse, precision, schedule in product(inverses.split(","), PRECISIONS, SCHEDULES)
    ]
    report(results)
    record = {"device": jax.devices()[0].device_kind, "machine": machine_record()}
    print(f"Wrote {write_json(output, {**record, 'cases': results})}")


if __name__ == "__main__":
    typer.run(main)
