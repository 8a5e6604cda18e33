"""A process that measures updates compiled without one part of a backend.

``rewrite_worker.py BACKEND NET PART SCHEDULE...`` compiles an update for each schedule and prints
the time of its first call as a line of JSON. Then it executes commands from standard input:
``memory SCHEDULE`` prints the growth of memory within a period in MiB, and ``time SCHEDULE N``
prints the time of an update, averaged over N. The process ends with its input. Times are pairs:
seconds that passed, and seconds of the processors, compilers that were started included.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

if not __package__:  # run as a script: make the checkout importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from experiments.benchmarks.cases import Case
from experiments.benchmarks.nets import NETS, Net
from experiments.benchmarks.rewrite_parts import part_of
from experiments.benchmarks.systems import OURS, REFRESH_EVERY
from experiments.benchmarks.worker import leap
from experiments.optimisers import GaussNewton
from experiments.peers.alternation import (
    calm_lapack,
    give_back_freed_memory,
    growth_of_updates,
    keep_freed_memory,
    run,
)

REFRESH = {"default": REFRESH_EVERY, "fresh": 1}
Batches = Iterator[tuple[np.ndarray, ...]]


def tell(value: float | list[float]) -> None:
    """Print a line of JSON."""
    print(json.dumps(value), flush=True)


def batches_of(net: Net) -> Batches:
    """Return an endless iterator of the network's batches."""
    x, y = net.data()
    rows = range(0, len(x), net.batch)
    parts = [(x[i : i + net.batch], y[i : i + net.batch]) for i in rows]
    return cycle([pair[:1] if net.reconstructs else pair for pair in parts])


class Watch:
    """A stop watch.

    Attributes
    ----------
    start : tuple of float
        Seconds that had passed, and seconds of the processors, when the watch was made.
    """

    def __init__(self) -> None:
        self.start = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        usage = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in usage)

    def read(self, count: int = 1) -> list[float]:
        """Return both times since then, divided by a count."""
        return [(now - then) / count for now, then in zip(self._now(), self.start, strict=True)]


def compiled(case: Case, batches: Batches) -> Callable[..., float]:
    """Compile an update, and call it until its schedule is periodic."""
    method = GaussNewton("kfra", factors_every=case.factors_every, refresh_every=case.refresh)
    network = case.net.network()
    watch = Watch()
    step = method.compile(network, case.backend)
    step(*next(batches))
    tell(watch.read())
    leaping = leap(step, case.warmup - 1) if case.period > 1 else step
    run(leaping, [next(batches) for _ in range(case.warmup - 1)])
    return step


def main(backend: str, net: str, name: str, *schedules: str) -> None:
    """Compile the updates and execute commands."""
    part_of(backend, name).leave_out(backend)
    cases = {
        schedule: Case(NETS[net], OURS, backend, "kfra", REFRESH[schedule], adaptive=True)
        for schedule in schedules
    }
    batches = batches_of(NETS[net])
    give_back_freed_memory()
    with calm_lapack(backend == "jax"):
        steps = {schedule: compiled(case, batches) for schedule, case in cases.items()}
        for line in sys.stdin:
            command, schedule, *arguments = line.split()
            step = steps[schedule]
            if command == "memory":
                give_back_freed_memory()
                tell(growth_of_updates(step, batches, cases[schedule].period))
                keep_freed_memory()
            else:
                count = int(arguments[0])
                given = [next(batches) for _ in range(count)]
                watch = Watch()
                run(step, given)
                tell(watch.read(count))


if __name__ == "__main__":
    main(*sys.argv[1:])
