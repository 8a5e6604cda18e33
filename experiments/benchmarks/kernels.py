"""What a GPU did while a function ran, from JAX's profiler."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax


@dataclass(frozen=True)
class Kernels:
    """How many kernels and copies ran on a GPU, and seconds of each, added up by name."""

    counts: dict[str, int]
    seconds: dict[str, float]

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def busy(self) -> float:
        return sum(self.seconds.values())


def kernels_of(call: Callable[[], Any]) -> Kernels:
    """Run a function and return its kernels; none where JAX's device is no GPU."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(call())
        (file,) = Path(folder).rglob("*.trace.json.gz")
        with gzip.open(file) as opened:
            return added_up(json.load(opened)["traceEvents"])


def added_up(events: list[dict[str, Any]]) -> Kernels:
    """Add up the complete events of the streams of GPUs."""
    named: dict[str, dict[Any, str]] = {"process_name": {}, "thread_name": {}}
    for event in events:
        if event.get("ph") == "M" and event["name"] in named:
            key = event["pid"], event.get("tid") if event["name"] == "thread_name" else None
            named[event["name"]][key] = event["args"]["name"]
    counts: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for event in events:
        process = named["process_name"].get((event.get("pid"), None), "")
        thread = named["thread_name"].get((event.get("pid"), event.get("tid")), "")
        if event.get("ph") == "X" and "GPU" in process and "Stream" in thread:
            name = event["name"]
            counts[name] = counts.get(name, 0) + 1
            seconds[name] = seconds.get(name, 0.0) + 1e-6 * event["dur"]
    return Kernels(counts, seconds)
