"""Interrupt calls at random moments; parameters and state must be from before or after."""

import argparse
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

import kfgn_graph as kfgn
from experiments.records import write_json

EXAMPLES, WIDTHS = 64, (20, 30, 5)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(EXAMPLES, WIDTHS[0])), RNG.normal(size=(EXAMPLES, WIDTHS[-1]))
ROWS = np.arange(EXAMPLES).reshape(4, -1)
State = dict[str, np.ndarray]


def main() -> None:
    """Interrupt calls on a backend; exit with 1 if a state is torn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interruptions", type=int, default=300)
    parser.add_argument("--backend", choices=["jax", "numba", "c"], default="jax")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("experiments/output/faults"))
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # what Ctrl-C does
    found = {
        name: interrupted(options.backend, many, options.interruptions, options.seed)
        for name, many in (("update", False), ("many", True))
    }
    record = {**vars(options), **found, "machine": kfgn.machine_record()}
    place = options.output / f"interruptions-{options.backend}.json"
    path = write_json(place, record | {"output": str(options.output)})
    print(*(f"{name}: {counts}" for name, counts in found.items()), path, sep="\n")
    sys.exit(any(counts["torn"] for counts in found.values()))


def interrupted(backend: str, many: bool, interruptions: int, seed: int) -> dict[str, int]:
    """Return the number of calls, by how the interruption left parameters and state."""
    update, twin, rng = compiled(backend), compiled(backend), random.Random(seed)
    call: Callable[[], Any] = (
        (lambda: update.many((X, Y), ROWS)) if many else (lambda: update(X, Y))
    )
    call()
    counts = {"calls": 0, "interrupted": 0, "before": 0, "after": 0, "torn": 0}
    longest = 1.2 * min(seconds(call) for _ in range(5))
    while counts["interrupted"] < interruptions:
        before = update.state()
        counts["calls"] += 1
        if not raised(call, rng.uniform(1e-5, longest)):
            continue
        counts["interrupted"] += 1
        counts[left(twin, before, update.state(), many)] += 1
    assert np.isfinite(call().loss).all()
    return counts


def compiled(backend: str) -> kfgn.Update:
    """Compile an update of a network of two layers."""
    rng = np.random.default_rng(1)
    x, y = (pt.matrix(n, shape=(None, d)) for n, d in (("x", WIDTHS[0]), ("y", WIDTHS[-1])))
    V, W = (
        pytensor.shared(rng.normal(size=shape) / 5, name=name, shape=shape)
        for name, shape in (("V", WIDTHS[:2]), ("W", WIDTHS[1:]))
    )
    loss = ((pt.tanh(x @ V) @ W - y) ** 2).sum(axis=1).mean()
    return kfgn.compile_update(loss, [V, W], [x, y], backend=backend, refresh_every=2)


def seconds(call: Callable[[], Any]) -> float:
    """Return the time of a call."""
    start = perf_counter()
    np.asarray(call().loss)
    return perf_counter() - start


def raised(call: Callable[[], Any], delay: float) -> bool:
    """Return whether a call raised at an alarm after a delay in seconds."""
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return True
    return False


def left(twin: kfgn.Update, before: State, after: State, many: bool) -> str:
    """Return whether a state is from before a call, from after one of its updates, or neither."""
    if same(before, after):
        return "before"
    twin.load_state(before)
    if many and twin.backend == "jax":  # one compiled loop
        twin.many((X, Y), ROWS)
        return "after" if same(twin.state(), after) else "torn"
    for rows in ROWS if many else [slice(None)]:
        twin(X[rows], Y[rows])
        if same(twin.state(), after):
            return "after"
    return "torn"


def same(first: State, second: State) -> bool:
    """Return whether two states are equal bit for bit."""
    return all(array.tobytes() == second[name].tobytes() for name, array in first.items())


if __name__ == "__main__":
    main()
