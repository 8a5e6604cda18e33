"""The benchmark of a spec's update: times of building, first call and update, and memory."""

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
    """The measurements of a spec's update.

    Attributes
    ----------
    spec : GraphSpec
        The spec.
    backend : str
        The name of the backend.
    build_seconds : float
        The time to recognise the graph and to build the update, without loading the data.
    timing : Timing
        The times of the updates.
    memory_before, memory_peak : float
        The peak resident memory of the process in MiB, before the update was built and at the end.
    """

    spec: GraphSpec
    backend: str
    build_seconds: float
    timing: Timing
    memory_before: float
    memory_peak: float

    def as_dict(self) -> dict[str, Any]:
        """Return the measurements and the machine's record as a JSON-serialisable dictionary."""
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
        The spec to time.
    folder : Path
        The folder of relative data files and of the user's modules.
    updates : int
        The minimum number of updates to time.
    pause : float
        The seconds to sleep before each timed call.

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
