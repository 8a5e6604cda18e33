"""A process that compiles an update without one part of a backend, and answers what is asked.

``rewrite_worker.py BACKEND NET SCHEDULE PART`` prints a line of JSON with the seconds of the first
call, and reads commands from standard input: ``memory`` prints by how many MiB memory grows within
a period, ``time N`` the seconds of an update in a run of N. The end of the input ends it.
"""

import json
import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: make the checkout importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.benchmarks.cases import Case
from experiments.benchmarks.nets import NETS
from experiments.benchmarks.rewrite_parts import part_of
from experiments.benchmarks.systems import OURS, REFRESH_EVERY
from experiments.benchmarks.worker import leap
from experiments.peers.alternation import (
    calm_lapack,
    give_back_freed_memory,
    growth_of_updates,
    keep_freed_memory,
    run,
)
from kfgn_graph.backends import resolve_backend
from kfgn_graph.program.optimisers import GaussNewton

REFRESH = {"default": REFRESH_EVERY, "fresh": 1}


def tell(**values: Any) -> None:
    """Print a line of JSON."""
    print(json.dumps(values), flush=True)


def main(backend: str, net: str, schedule: str, name: str) -> None:
    """Compile, and answer until there are no more commands."""
    part_of(backend, name).leave_out(type(resolve_backend(backend)))
    case = Case(NETS[net], OURS, backend, "kfra", REFRESH[schedule], adaptive=True)
    x, y = case.net.data()
    rows = range(0, len(x), case.net.batch)
    parts = [(x[i : i + case.net.batch], y[i : i + case.net.batch]) for i in rows]
    batches = cycle([pair[:1] if case.net.reconstructs else pair for pair in parts])
    method = GaussNewton("kfra", factors_every=case.factors_every, refresh_every=case.refresh)
    give_back_freed_memory()
    network = case.net.network()
    with calm_lapack(backend == "jax"):
        start = time.perf_counter()
        step = method.compile(network, backend)
        step(*next(batches))
        tell(first_call=time.perf_counter() - start)
        leaping = leap(step, case.warmup - 1) if case.period > 1 else step
        started = False
        for line in sys.stdin:
            command, *arguments = line.split()
            if not started:
                run(leaping, [next(batches) for _ in range(case.warmup - 1)])
                started = True
            if command == "memory":
                tell(memory=growth_of_updates(step, batches, case.period))
                keep_freed_memory()
            else:
                count = int(arguments[0])
                given = [next(batches) for _ in range(count)]
                begin = time.perf_counter()
                run(step, given)
                tell(time=(time.perf_counter() - begin) / count)


if __name__ == "__main__":
    main(*sys.argv[1:])
