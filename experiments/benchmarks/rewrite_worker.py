"""A process that compiles updates without one part of a backend, and answers what is asked.

``rewrite_worker.py BACKEND NET PART SCHEDULE...`` compiles an update for each schedule and prints
a line of JSON with the seconds of its first call. Then it reads commands from standard input:
``memory SCHEDULE`` prints by how many MiB memory grows within a period, ``time SCHEDULE N`` the
seconds of an update in a run of N. The end of the input ends it.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

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


def tell(**values: Any) -> None:
    """Print a line of JSON."""
    print(json.dumps(values), flush=True)


def batches_of(net: Net) -> Batches:
    """Return the network's batches, without end."""
    x, y = net.data()
    rows = range(0, len(x), net.batch)
    parts = [(x[i : i + net.batch], y[i : i + net.batch]) for i in rows]
    return cycle([pair[:1] if net.reconstructs else pair for pair in parts])


def compiled(case: Case, batches: Batches) -> Callable[..., float]:
    """Compile an update, and call it until it does what it does from then on."""
    method = GaussNewton("kfra", factors_every=case.factors_every, refresh_every=case.refresh)
    network = case.net.network()
    start = time.perf_counter()
    step = method.compile(network, case.backend)
    step(*next(batches))
    tell(first_call=time.perf_counter() - start)
    leaping = leap(step, case.warmup - 1) if case.period > 1 else step
    run(leaping, [next(batches) for _ in range(case.warmup - 1)])
    return step


def main(backend: str, net: str, name: str, *schedules: str) -> None:
    """Compile, and answer until there are no more commands."""
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
                tell(memory=growth_of_updates(step, batches, cases[schedule].period))
                keep_freed_memory()
            else:
                count = int(arguments[0])
                given = [next(batches) for _ in range(count)]
                begin = time.perf_counter()
                run(step, given)
                tell(time=(time.perf_counter() - begin) / count)


if __name__ == "__main__":
    main(*sys.argv[1:])
