"""Time an update and a matrix product in turn, in the process of whichever library makes it.

Imports NumPy and nothing of this project, so that every system is measured by the same lines: ours
in ``experiments/benchmarks/worker.py``, the peers' in the scripts ``*_step.py`` beside this file,
each called as ``SCRIPT TASK ANSWER`` with an npz and a JSON file. A task holds weights and biases
(W0, b0, W1, ...), a few batches one after the other (x, y) and, as JSON, ``settings``.
"""

import ctypes
import gc
import json
import math
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from itertools import cycle
from pathlib import Path

import numpy as np

GEMM_SIZE = 2000
"""Rows and columns of the float32 matrices whose product is the unit of time."""
PAUSE = 0.15
"""Seconds between timed calls: threads of a BLAS spin for a while after their work, and would
slow the next call."""
SHORT = 0.02
"""Seconds below which an update is not timed alone, but in a run of whole periods."""
PERIODS = 3
"""Periods of the schedule that are timed at least."""
MOVED = 2**24
"""Numbers of each of the three float32 arrays that bandwidth is measured on: beyond any cache."""
MOVES = 7
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
"""The names that the C library's mallopt has for the least size of what it asks of the system by
itself, and for the most that is free at the heap's end and stays."""
KEPT = 2**28
"""Bytes of either while updates are timed, as in ``kfgn_graph.program.allocation``."""
ARRAY = 2**16
"""Bytes of an array that counts in memory, at least."""


class Task:
    """What one process measures, as it lies in the npz.

    Attributes
    ----------
    settings : dict
        Of the case: loss, activation, method, schedule, repeats.
    layers : list of (ndarray, ndarray)
        Weight, (d_in, d_out), and bias of each, forward order.
    batches : list of (ndarray, ndarray)
        Examples and targets.
    """

    def __init__(self, path):
        with np.load(path) as arrays:
            self.settings = json.loads(str(arrays["settings"]))
            layers = range(self.settings["layers"])
            self.layers = [(arrays[f"W{i}"], arrays[f"b{i}"]) for i in layers]
            x, y = arrays["x"], arrays["y"]
        count = self.settings["batch"]
        starts = range(0, len(x), count)
        self.batches = [(x[start : start + count], y[start : start + count]) for start in starts]


def serve(make_step, make_product, packages):
    """Measure the task of the command line and write the answer.

    Parameters
    ----------
    make_step : callable
        From the task to the update: a callable of examples and targets that returns the loss, as
        a Python number, so that the update has ended.
    make_product : callable
        From two matrices to a call that multiplies them as the library does.
    packages : sequence of str
        Whose versions are told.
    """
    task = Task(sys.argv[1])
    with calm_lapack(task.settings["calm"]):
        answer = measure(task, make_step, make_product)
    answer["versions"] = {name: metadata.version(name) for name in packages}
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


@contextmanager
def calm_lapack(wanted):
    """Give SciPy's LAPACK, which JAX calls on a CPU, one thread, as our own side does."""
    if not wanted:
        yield
        return
    import scipy.linalg  # noqa: F401  (loads the library whose threads are set)
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()
    paths = [Path(library["filepath"]) for library in controller.info()]
    of_scipy = [str(p) for p in paths if any(f.startswith("scipy") for f in p.parts[:-1])]
    with controller.select(filepath=of_scipy).limit(limits=1):
        yield


def measure(task, make_step, make_product):
    """Build the update, call it, and time it in turn with the products.

    Returns
    -------
    dict
        Seconds of building and of all up to the end of the first update; peak memory in MiB,
        before building and after the first updates; by how much memory grows in the next; the
        timed seconds one by one; bandwidth.
    """
    batches = cycle(task.batches)
    give_back_freed_memory()
    before = peak_memory()
    start = time.perf_counter()
    step = make_step(task)
    built = time.perf_counter()
    losses = [step(*next(batches))]
    called = time.perf_counter()
    losses += [step(*next(batches)) for _ in range(task.settings["warmup"] - 1)]
    after = peak_memory()
    growth = growth_of_updates(step, batches, task.settings["period"])
    keep_freed_memory()
    return {
        "build_seconds": built - start,
        "first_call_seconds": called - start,
        "memory_before_mib": before,
        "memory_peak_mib": after,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        **alternate(step, batches, make_product, task.settings),
        "bandwidth": bandwidth(),
        "memory_update_mib": growth,
    }


def give_back_freed_memory():
    """Let glibc ask the system for each array by itself, and give it back when it is freed.

    From the first array on: one in the heap leaves a hole, whose pages stay, once used again.
    """
    set_allocator(ARRAY, M_MMAP_THRESHOLD)


def keep_freed_memory():
    """Let glibc keep memory that is freed, so that no page is asked of the system anew."""
    set_allocator(KEPT, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD)


def set_allocator(size, *names):
    """Set what has these names for glibc's mallopt to a number of bytes, on Linux."""
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        for name in names:
            library.mallopt(name, size)


def alternate(step, batches, make_product, settings):
    """Time NumPy's product, an update, NumPy's again, the library's own, again and again.

    Returns
    -------
    dict
        ``calls``: updates a sample; ``step_seconds``: of a sample, divided by those;
        ``gemm_seconds``, one more; ``own_gemm_seconds``.
    """
    period = settings["period"]
    calls = calls_a_sample(step, batches, period)
    samples = settings["repeats"]
    if calls == 1:
        samples = max(PERIODS, math.ceil(samples / period)) * period
    left, right = factors()
    gemm, own = numpy_product(left, right), make_product(left, right)
    gemm(), own()
    gemms, owns, steps = [timed(gemm)], [], []
    for _ in range(samples):
        given = [next(batches) for _ in range(calls)]
        steps.append(timed(partial(run, step, given)) / calls)
        gemms.append(timed(gemm))
        owns.append(timed(own))
    return {
        "calls": calls,
        "step_seconds": steps,
        "gemm_seconds": gemms,
        "own_gemm_seconds": owns,
    }


def calls_a_sample(step, batches, period):
    """Return how many updates are timed at once: one, or whole periods of short ones."""
    tried = []
    for _ in range(2):
        given = [next(batches) for _ in range(period)]
        start = time.perf_counter()
        run(step, given)
        tried.append(time.perf_counter() - start)
    taken = min(tried)
    return 1 if taken >= SHORT * period else period * math.ceil(SHORT / taken)


def run(step, batches):
    """Do an update with each batch."""
    for batch in batches:
        step(*batch)


def factors():
    """Return the two matrices of the unit."""
    rng = np.random.default_rng(1)
    shape = (GEMM_SIZE, GEMM_SIZE)
    return rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32)


def numpy_product(left, right):
    """Return the unit, a product by NumPy into memory that stays."""
    return partial(np.matmul, left, right, out=np.empty_like(left))


def timed(call):
    """Time a call, after a pause in which the threads of the call before fall asleep."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def bandwidth():
    """Return bytes a second, read or written, of a sum of two arrays by all processors."""
    first, second = (np.full(MOVED, value, np.float32) for value in (1, 2))
    result = np.zeros_like(first)
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [np.array_split(array, workers) for array in (first, second, result)]
    taken = []
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(MOVES):
            start = time.perf_counter()
            list(pool.map(lambda a, b, c: np.add(a, b, out=c), *parts))
            taken.append(time.perf_counter() - start)
    return 3 * result.nbytes / sorted(taken)[MOVES // 2]


def growth_of_updates(step, batches, period):
    """Return the most by which memory grows within an update of a period, MiB.

    After :func:`give_back_freed_memory`. What else the updates before it, and the compilers, have
    freed is first given back to the system. Nan where the system, which is not Linux, does not
    let its record begin anew.
    """
    record = Path("/proc/self/clear_refs")
    if not record.is_file():
        return math.nan
    run(step, [next(batches) for _ in range(period)])
    time.sleep(PAUSE)  # threads of the library may free what they have used a little later
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    record.write_text("5")
    run(step, [next(batches) for _ in range(period)])
    return resident("VmHWM") - before


def resident(name):
    """Return Linux's record of this process's memory in MiB: VmRSS, now, or VmHWM, the peak."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 2**10


def peak_memory():
    """Return this process's largest resident size so far, MiB.

    Linux's own record is read where there is one: what getrusage tells begins with the size of
    the process that started this one.
    """
    if Path("/proc/self/status").is_file():
        return resident("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
