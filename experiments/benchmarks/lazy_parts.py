"""Time updates in which parts are not due beside updates in which they are.

``python experiments/benchmarks/lazy_parts.py`` compiles KFRA on an autoencoder twice a backend and
part: once with the part due at every update, once with it due so seldom that it never is again.
The two are called in turn on the same batches, and the figure is the median of the ratios of their
times: what else the machine does slows both. A part that is lazy costs nothing where it is not
due, so the ratio falls by all that the part takes. ``all`` puts inverses, factors and
ratio off together; ``search`` compares a search for gamma at every update with none.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

if not __package__:  # run as a script: make the checkout importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import kfgn_graph as kfgn
from experiments.benchmarks.systems import FIRST
from experiments.networks import autoencoder
from experiments.records import write_json

OUTPUT = Path(__file__).resolve().parents[1] / "output" / "benchmarks" / "lazy_parts.json"
NEVER = 1_000

ALWAYS: dict[str, Any] = {
    "factors_every": 1,
    "refresh_every": 1,
    "damping": kfgn.LevenbergMarquardt(every=1),
    "step": kfgn.Rescaling(reject_below=0.0, watch=None),
}
PARTS: dict[str, dict[str, Any]] = {
    "inverses": {"refresh_every": NEVER},
    "factors": {"factors_every": NEVER},
    "ratio": {
        "damping": kfgn.LevenbergMarquardt(every=NEVER),
        "step": kfgn.Rescaling(reject_below=None),
    },
    "search": {"damping": kfgn.LevenbergMarquardt(every=1, gamma="search", gamma_every=NEVER)},
}
PARTS["all"] = {
    key: value for name in ("inverses", "factors", "ratio") for key, value in PARTS[name].items()
}
SEARCHED = {"damping": kfgn.LevenbergMarquardt(every=1, gamma="search", gamma_every=1)}


def compiled(width: int, hidden: tuple[int, ...], backend: str, settings: Any) -> kfgn.Update:
    """Compile the autoencoder's update."""
    network = autoencoder(width, hidden)
    return kfgn.compile_update(
        network.loss,
        network.parameters,
        network.inputs,
        method=kfgn.KFRA(),
        backend=backend,
        **settings,
    )


def alternated(
    first: kfgn.Update, second: kfgn.Update, batches: list[np.ndarray], repeats: int
) -> dict[str, float]:
    """Return the milliseconds of both, and the median ratio of the second's to the first's."""
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(FIRST + repeats):
        for update, taken in zip((first, second), times, strict=True):
            start = time.perf_counter()
            update(batches[index % len(batches)]).as_dict()
            taken.append(time.perf_counter() - start)
    due, not_due = (taken[FIRST:] for taken in times)
    ratios = [b / a for a, b in zip(due, not_due, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "due_ms": 1e3 * statistics.median(due),
        "not_due_ms": 1e3 * statistics.median(not_due),
        "ratio": statistics.median(ratios),
        "ratio_lower": quartiles[0],
        "ratio_upper": quartiles[2],
    }


def main(
    backend: Annotated[list[str] | None, typer.Option(help="All three if left out.")] = None,
    part: Annotated[list[str] | None, typer.Option(help="All if left out.")] = None,
    width: Annotated[int, typer.Option(help="Units of the input.")] = 784,
    hidden: Annotated[str, typer.Option(help="Hidden widths, with commas.")] = "500,30,500",
    batch: Annotated[int, typer.Option(help="Examples a batch.")] = 500,
    repeats: Annotated[int, typer.Option(help="Timed pairs.")] = 15,
    output: Annotated[Path, typer.Option(help="Where the record goes.")] = OUTPUT,
) -> None:
    """Measure, print a table, and write a record."""
    if FIRST + repeats >= NEVER:
        raise typer.BadParameter(f"at most {NEVER - FIRST - 1} repeats, or parts fall due.")
    rng = np.random.default_rng(0)
    batches = [rng.random((batch, width), dtype=np.float32) for _ in range(4)]
    widths = tuple(int(n) for n in hidden.split(","))
    rows = []
    print(f"{'backend':8} {'part':9} {'due ms':>9} {'not due ms':>11} {'ratio':>7}  quartiles")
    for name in backend or ["jax", "numba", "c"]:
        for which in part or list(PARTS):
            always = ALWAYS | (SEARCHED if which == "search" else {})
            pair = [
                compiled(width, widths, name, settings)
                for settings in (always, ALWAYS | PARTS[which])
            ]
            row = {"backend": name, "part": which, **alternated(*pair, batches, repeats)}
            rows.append(row)
            print(
                f"{name:8} {which:9} {row['due_ms']:9.2f} {row['not_due_ms']:11.2f} "
                f"{row['ratio']:7.3f}  {row['ratio_lower']:.3f} to {row['ratio_upper']:.3f}",
                flush=True,
            )
    write_json(output, {"machine": kfgn.machine_record(), "rows": rows})


if __name__ == "__main__":
    typer.run(main)
