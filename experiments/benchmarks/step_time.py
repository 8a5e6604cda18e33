"""Time one update in units of a matrix product, beside the least that the update could take.

``python experiments/benchmarks/step_time.py`` measures KFRA at its defaults (averaged over their
schedule), with everything fresh, and that at constant step and damping, and Adam, on the paper's
autoencoder.
Every configuration runs in a process of its own, so that its peak memory is its own, and with
empty compilation caches, so that the first call is a first call. There, an update and a
2000x2000x2000 float32 product by NumPy are timed in turn, and the figure is the median of the
ratios: what else the machine does slows both. The limit is the update's floating-point operations
(:mod:`experiments.benchmarks.flops`) at the product's rate. NumPy's product need not be the
machine's fastest, so the same product by the backend itself is timed in turn as well.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

if not __package__:  # run as a script: make the checkout importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.benchmarks.configuration import GEMM_FLOPS, PAPER_SIZES, SUBJECTS, Configuration
from experiments.benchmarks.report import breakdown_table, results_table
from kfgn_graph.program.machine import machine_record, write_json

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "benchmarks" / "step_time.json"


def measure_apart(configuration: Configuration) -> dict[str, object]:
    """Measure in a process of its own and return its record.

    Raises
    ------
    RuntimeError
        The process failed; its last lines are in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "record.json"
        worker = Path(__file__).with_name("worker.py")
        command = [sys.executable, str(worker), json.dumps(asdict(configuration)), str(answer)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=_cold_environment(Path(folder))
        )
        if done.returncode:
            raise RuntimeError(
                f"{configuration.method} on {configuration.backend} failed:\n"
                + "\n".join(done.stderr.splitlines()[-15:])
            )
        measured = json.loads(answer.read_text(encoding="utf-8"))
    return {**asdict(configuration), **measured, **_limits(configuration, measured)}


def _cold_environment(folder: Path) -> dict[str, str]:
    """Return this environment with empty compilation caches, so that a first call compiles."""
    flags = [flag for flag in (os.environ.get("PYTENSOR_FLAGS"),) if flag]
    return {
        **os.environ,
        "PYTENSOR_FLAGS": ",".join([*flags, f"base_compiledir={folder / 'pytensor'}"]),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }


def _limits(configuration: Configuration, measured: dict[str, float]) -> dict[str, float]:
    """Return the update's operations, the least time they take in products, and the ratios."""
    full, half = configuration.flops
    return {
        "flops_full": full,
        "flops_half": half,
        "limit_full": full / GEMM_FLOPS,
        "limit_half": half / GEMM_FLOPS,
        "ratio_full": measured["step_in_gemms"] * GEMM_FLOPS / full,
        "ratio_half": measured["step_in_gemms"] * GEMM_FLOPS / half,
        "ratio_own": measured["step_in_own_gemms"] * GEMM_FLOPS / full,
    }


def main(
    methods: Annotated[str, typer.Option(help=f"Of {', '.join(SUBJECTS)}.")] = ",".join(SUBJECTS),
    backends: Annotated[str, typer.Option(help="Of jax, numba and c.")] = "jax",
    batch: Annotated[int, typer.Option(help="Examples a batch.", min=2)] = 1000,
    repeats: Annotated[int, typer.Option(help="Timed pairs.", min=3)] = 15,
    calm: Annotated[
        bool, typer.Option(help="Under JAX, one thread for SciPy's LAPACK, as in the demo.")
    ] = True,
    output: Annotated[Path, typer.Option(help="The JSON file.")] = OUTPUT,
    sizes: Annotated[str, typer.Option(help="The network's widths.")] = "-".join(
        map(str, PAPER_SIZES)
    ),
) -> None:
    """Measure each method on each backend; print a table and write JSON."""
    from rich.console import Console

    console = Console()
    widths = tuple(int(width) for width in sizes.split("-"))
    records: list[dict[str, object]] = []
    counted: dict[str, Configuration] = {}
    for backend in backends.split(","):
        for method in methods.split(","):
            console.print(f"measuring {method} on {backend} ...", highlight=False)
            configuration = Configuration(method, backend, widths, batch, repeats, calm=calm)
            counted[method] = configuration
            records.append(measure_apart(configuration))
    console.print(results_table(records))
    console.print(breakdown_table(list(counted.values()), GEMM_FLOPS))
    path = write_json(output, {"machine": machine_record(), "configurations": records})
    console.print(f"Wrote {path}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    typer.run(main)
