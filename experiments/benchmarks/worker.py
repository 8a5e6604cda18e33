"""The process that measures one configuration: ``worker.py CONFIGURATION ANSWER``, both JSON."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pytensor
import pytensor.tensor as pt

from experiments.benchmarks.configuration import GEMM_SIZE, Configuration
from kfgn_graph.program.machine import peak_memory
from kfgn_graph.program.networks import autoencoder
from kfgn_graph.program.optimisers import Backend, Step, backend_mode
from kfgn_graph.program.threads import single_threaded_lapack

BATCHES = 4
PAUSE = 0.15
"""Seconds between timed calls: threads of a BLAS spin for a while after their work, and would
slow the next call."""


def measure(configuration: Configuration) -> dict[str, object]:
    """Compile the update, call it, and time it in turn with the matrix product.

    Returns
    -------
    dict
        Seconds of building and of the first call; medians and quartiles of the timed pairs, times
        in milliseconds; peak memory in MiB, before compiling and in all.
    """
    rng = np.random.default_rng(0)
    sizes, count = configuration.sizes, configuration.batch
    network = autoencoder(sizes[0], sizes[1:-1])
    batches = [rng.random((count, sizes[0]), dtype=np.float32) for _ in range(BATCHES)]
    before = peak_memory()
    backend = cast(Backend, configuration.backend)
    start = time.perf_counter()
    step = configuration.subject.optimiser.compile(network, backend)
    built = time.perf_counter()
    step(batches[0])
    called = time.perf_counter()
    for index in range(configuration.subject.warmup):
        step(batches[index % BATCHES])
    after = peak_memory()
    return {
        "build_seconds": built - start,
        "first_call_seconds": called - start,
        "memory_before_mib": before,
        "memory_peak_mib": after,
        **time_pairs(step, batches, configuration, backend),
    }


def time_pairs(
    step: Step, batches: list[np.ndarray], configuration: Configuration, backend: Backend
) -> dict[str, object]:
    """Time the unit, an update, the unit again and the backend's own product, again and again.

    An update's unit is the mean of the two NumPy products around it. The figures of an update
    are medians over periods for each of its phases, and the mean of those.
    """
    period = configuration.subject.period
    gemm, own = numpy_product(), backend_product(backend)
    gemm(), own()
    gemms, owns, steps = [_timed(gemm)], [], []
    for index in range(configuration.periods * period):
        steps.append(_timed(partial(step, batches[index % BATCHES])))
        gemms.append(_timed(gemm))
        owns.append(_timed(own))
    around = [(before + after) / 2 for before, after in pairwise(gemms)]
    ratios = [taken / unit for taken, unit in zip(steps, around, strict=True)]
    own_ratios = [taken / unit for taken, unit in zip(steps, owns, strict=True)]
    return {
        "step_in_gemms": _typical(ratios, period),
        "step_in_gemms_quartiles": _quartiles(ratios),
        "step_in_own_gemms": _typical(own_ratios, period),
        "step_milliseconds": 1e3 * _typical(steps, period),
        "gemm_milliseconds": 1e3 * statistics.median(gemms),
        "gemm_milliseconds_quartiles": [1e3 * value for value in _quartiles(gemms)],
        "own_gemm_milliseconds": 1e3 * statistics.median(owns),
        "own_gemm_milliseconds_quartiles": [1e3 * value for value in _quartiles(owns)],
    }


def numpy_product() -> Callable[[], object]:
    """Return the unit: a GEMM_SIZE^3 float32 product by NumPy, into memory that stays."""
    left, right = _factors()
    result = np.empty_like(left)
    return partial(np.matmul, left, right, out=result)


def backend_product(backend: Backend) -> Callable[[], object]:
    """Return the same product by the backend itself, its operands where the backend keeps them."""
    left, right = _factors()
    if backend == "jax":
        import jax

        operands = jax.device_put(left), jax.device_put(right)
        product = jax.jit(jax.numpy.matmul)
        return lambda: product(*operands).block_until_ready()
    shared = pytensor.shared(left), pytensor.shared(right)
    return pytensor.function([], pt.dot(*shared), mode=backend_mode(backend))


def _factors() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    shape = (GEMM_SIZE, GEMM_SIZE)
    return rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32)


def _timed(call: Callable[[], object]) -> float:
    """Time a call, after a pause in which the threads of the call before fall asleep."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _typical(values: list[float], period: int) -> float:
    """Return the mean over phases of the median over periods."""
    return statistics.mean(statistics.median(values[phase::period]) for phase in range(period))


def _quartiles(values: list[float]) -> list[float]:
    first, _, third = statistics.quantiles(values, n=4)
    return [first, third]


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    configuration = Configuration(**{**asked, "sizes": tuple(asked["sizes"])})
    backend = cast(Backend, configuration.backend)
    with single_threaded_lapack(backend) if configuration.calm else nullcontext():
        record = measure(configuration)
    Path(sys.argv[2]).write_text(json.dumps(record), encoding="utf-8")
