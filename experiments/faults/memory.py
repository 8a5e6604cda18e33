"""Train a small network for a long time, and fit a line to the process's resident memory."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.faults.small import write_spec
from kfgn_graph.program.evaluation import Evaluation
from kfgn_graph.program.machine import machine_record, write_json
from kfgn_graph.program.spec import read_spec
from kfgn_graph.program.training import start

EVERY = 100
FLAT = 0.05
"""MiB a thousand updates that a line may rise; a leak of an array of this net is 5 or more."""


class Sampler:
    """Notes the resident memory at every hundredth update, as the run's watcher."""

    def __init__(self) -> None:
        self.samples: list[tuple[int, float]] = []

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Take no note."""

    def updated(self, update: int, seconds: float, loss: float, damping: float | None) -> None:
        """Note the memory."""
        if update % EVERY == 0:
            self.samples.append((update, resident()))

    def evaluated(self, update: int, found: Evaluation) -> None:
        """Take no note."""

    def noted(self, text: str) -> None:
        """Pass it on."""
        print(text, file=sys.stderr)


def resident() -> float:
    """Return this process's resident memory, MiB; Linux tells it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Train, and exit with 1 if memory rises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--warm-up", type=int, default=2_000)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--output", type=Path, default=Path("experiments/output/faults"))
    options = parser.parse_args()
    began = time.perf_counter()
    found = grown(options.updates, options.warm_up, options.backend)
    found["seconds"] = time.perf_counter() - began
    record = {**vars(options), **found, "machine": machine_record()}
    path = write_json(options.output / "memory.json", record | {"output": str(options.output)})
    for key in ("at_warm_up", "at_end", "slope", "half_width", "seconds"):
        print(f"{key}: {found[key]:.4g}")
    print(path)
    sys.exit(bool(found["slope"] > FLAT))


def grown(updates: int, warm_up: int, backend: str = "auto") -> dict[str, Any]:
    """Return the memory, MiB, and its slope after the warm-up, MiB a thousand updates."""
    sampler = Sampler()
    with tempfile.TemporaryDirectory() as folder:
        spec = write_spec(Path(folder), updates, evaluate=1000, checkpoint=1000, backend=backend)
        start(read_spec(spec), Path(folder), Path(folder) / "runs", sampler)
    table = np.array([sample for sample in sampler.samples if sample[0] >= warm_up])
    (slope, _), covariance = np.polyfit(table[:, 0] / 1000, table[:, 1], 1, cov=True)
    return {
        "at_warm_up": table[0, 1],
        "at_end": table[-1, 1],
        "slope": slope,
        "half_width": 1.96 * float(np.sqrt(covariance[0, 0])),
        "samples": sampler.samples,
    }


if __name__ == "__main__":
    main()
