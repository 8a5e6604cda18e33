"""The benchmark of a spec's update: building, first call, time in a unit, and memory."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfgn_graph.program.building import build, compile_step
from kfgn_graph.program.explanation.timing import UNIT_FLOPS, Timing, time_updates
from kfgn_graph.program.machine import machine_record, peak_memory
from kfgn_graph.program.rules import resolve_backend
from kfgn_graph.program.spec.models import GraphSpec


@dataclass(frozen=True)
class Benchmark:
    """What was measured of a spec's update.

    Attributes
    ----------
    spec : GraphSpec
        Which.
    backend : str
        That compiled it.
    build_seconds : float
        Of recognising the graph and building the update; data are loaded before.
    timing : Timing
        Of the updates.
    memory_before, memory_peak : float
        The process's largest resident size, MiB: before the update was built, and in all.
    """

    spec: GraphSpec
    backend: str
    build_seconds: float
    timing: Timing
    memory_before: float
    memory_peak: float

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, and the machine's record, for JSON."""
        return {
            **asdict(self),
            "spec": self.spec.model_dump(mode="json", exclude_defaults=True),
            "unit_flops": UNIT_FLOPS,
            "machine": machine_record(),
        }


def benchmark(spec: GraphSpec, folder: Path, updates: int, pause: float) -> Benchmark:
    """Build a spec's update and time it.

    Parameters
    ----------
    spec : GraphSpec
        What to time.
    folder : Path
        Where relative data files, and modules of the user's, lie.
    updates : int
        To time, at least.
    pause : float
        Seconds of sleep before each timed call.

    Raises
    ------
    KfgnError
        The spec cannot be built or compiled.
    """
    task = build(spec, folder)
    before, began = peak_memory(), time.perf_counter()
    step = compile_step(task)
    built = time.perf_counter() - began
    timing = time_updates(task, step, updates, pause)
    backend = resolve_backend(spec.backend) if step.update is None else step.update.backend
    return Benchmark(spec, backend, built, timing, before, peak_memory())
