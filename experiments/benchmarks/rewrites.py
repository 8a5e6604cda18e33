"""``python -m experiments.benchmarks.rewrites``: what each part of the backends saves.

An update is compiled with all parts, and without each of them, in separate processes. Memory is
measured in each, and periods of the schedule are timed in turn. A part's figure is the median
ratio of the time with it to the time without it, between neighbours in time. For parts that serve
first calls, these are timed too: with an empty cache of compiled code, then from that cache.

Two times are recorded: that which passed, and that of the processors. On a machine that other
programs use as well, the second is the better one; it needs ``--threads 1``, because threads that
wait for each other may be counted as working.
"""

import fcntl
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from os import environ
from pathlib import Path
from typing import Annotated, Any

import typer

import kfgn_graph as kfgn
from experiments.benchmarks.__main__ import BACKENDS, OUTPUT, chosen
from experiments.benchmarks.measuring import compiling_in
from experiments.benchmarks.rewrite_parts import NONE, PARTS, Part
from experiments.records import write_json

PAUSE = 0.15
"""Seconds after each timed run, in which the threads of its BLAS fall asleep."""
SLICE = 60.0
"""Seconds after which a lock that others wait for is released, at the end of a step."""
LEAST = 0.2
"""Seconds that a timed run takes, about, at least."""
PERIODS = {"default": 10, "fresh": 5}
"""Updates after which a schedule repeats."""
KINDS = ("seconds", "processor seconds")
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Times = tuple[float, float]


def threads_of(count: int | None) -> dict[str, str]:
    """Return the variables by which libraries use so many threads."""
    if count is None:
        return {}
    variables = dict.fromkeys(VARIABLES, str(count))
    return variables | ({"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if count == 1 else {})


class Process:
    """A process of ``rewrite_worker.py``, which has compiled its updates.

    Attributes
    ----------
    first_calls : list of (float, float)
        Both times, for each schedule.
    """

    def __init__(
        self, command: Sequence[str], schedules: Sequence[str], variables: Mapping[str, str]
    ) -> None:
        script = Path(__file__).with_name("rewrite_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), *command, *schedules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environ, **variables},
        )
        self.first_calls: list[Times] = [self._answer() for _ in schedules]

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended, see its last words above")
        return json.loads(line)

    def ask(self, command: str) -> Any:
        """Give a command; return the answer."""
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


class Turns:
    """A lock by which the programs on one machine take turns.

    It is held across several steps, and released at the end of a step after ``SLICE`` seconds.

    Parameters
    ----------
    path : Path or None
        The file that is locked; None for no lock.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("w") if path else None
        self._since: float | None = None

    def __enter__(self) -> None:
        if self._file is not None and self._since is None:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        if self._file is not None and self._since is not None:
            if time.monotonic() - self._since > SLICE:
                fcntl.flock(self._file, fcntl.LOCK_UN)
                self._since = None
                time.sleep(PAUSE)


class Bench:
    """The measurement of one network on one backend.

    Parameters
    ----------
    backend, net : str
        The names of the backend and of the network.
    folder : Path
        An empty folder for caches of compiled code.
    turns : Turns
        The lock.
    threads : int or None
        The number of threads of libraries; None for their own choice.
    """

    def __init__(
        self, backend: str, net: str, folder: Path, turns: Turns, threads: int | None
    ) -> None:
        self._names, self._folder, self._turns = (backend, net), folder, turns
        self._variables = threads_of(threads)
        self.found: dict[str, dict[str, Any]] = {}

    def _start(self, part: Part, cache: str, schedules: Sequence[str]) -> Process:
        variables = self._variables | compiling_in(self._folder / cache)
        return Process([*self._names, part.name], schedules, variables)

    def _note(self, part: Part, name: str, value: Any) -> None:
        self.found.setdefault(part.name, {})[name] = value
        print(*self._names, part.name, name, value, flush=True)

    def first_calls(self, parts: Sequence[Part], runs: int) -> None:
        """Time first calls: with all parts, first and last, and without each."""
        for index, part in enumerate((NONE, *parts, NONE) if parts else ()):
            calls: list[Times] = []
            for _ in range(1 + runs):
                with self._turns:
                    process = self._start(part, f"first {index}", ["default"])
                    process.close()
                calls += process.first_calls
            earlier = self.found.get(part.name, {}).get("first calls", [])
            self._note(part, "first calls", [*earlier, calls])

    def updates(self, parts: Sequence[Part], rounds: int) -> None:
        """Measure memory and time of updates, with all parts and without each.

        Both processes of a pair are new ones: the time of an update depends on the damping, and
        so on how many updates were made before.
        """
        cache = "updates"
        for part in parts:
            with self._turns:
                whole = self._start(NONE, cache, list(PERIODS))
                process = self._start(part, part.name if part.own_code else cache, list(PERIODS))
                self._measure_memory(NONE, whole)
                self._measure_memory(part, process)
                for schedule, period in PERIODS.items():
                    pairs = alternated(whole, process, schedule, period, rounds)
                    self._note(part, schedule, pairs)
                whole.close()
                process.close()

    def _measure_memory(self, part: Part, process: Process) -> None:
        self._note(part, "MiB", {name: process.ask(f"memory {name}") for name in PERIODS})


def alternated(
    whole: Process, process: Process, schedule: str, period: int, rounds: int
) -> list[tuple[Times, Times]]:
    """Time updates of two processes in turn; return both times of both, for each round."""
    first, _ = whole.ask(f"time {schedule} {period}")
    command = f"time {schedule} {period * ceil(LEAST / (first * period))}"
    pairs = []
    for index in range(rounds):
        times = {}
        for one in (whole, process) if index % 2 else (process, whole):
            time.sleep(PAUSE)
            times[one] = one.ask(command)
        pairs.append((times[whole], times[process]))
    return pairs


def ratio(pairs: Sequence[tuple[Times, Times]], kind: str) -> str:
    """Return the milliseconds of an update, and the ratio of with to without, with quartiles."""
    place = KINDS.index(kind)
    ms = 1e3 * statistics.median(whole[place] for whole, _ in pairs)
    ratios = [whole[place] / other[place] for whole, other in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{ms:.4g} ms, {middle:.3f} ({low:.3f}-{high:.3f})"


def table(found: Mapping[str, Mapping[str, Any]], kind: str) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    heads = ["left out", *PERIODS, "MiB", "first calls: empty cache", "from the cache"]
    yield " | ".join(["", *heads, ""]).strip()
    yield "|---" * len(heads) + "|"
    place = KINDS.index(kind)
    for name, row in found.items():
        cells = [name, *(ratio(row[s], kind) if s in row else "" for s in PERIODS)]
        cells.append(", ".join(f"{mib:.1f}" for mib in row.get("MiB", {}).values()))
        runs = row.get("first calls", [])
        cells.append(", ".join(f"{calls[0][place]:.2f}" for calls in runs))
        cells.append(", ".join(f"{call[place]:.2f}" for calls in runs for call in calls[1:]))
        yield " | ".join(["", *cells, ""]).strip()


def main(
    backend: Annotated[str, typer.Option(help="jax, numba or c.")] = "numba",
    net: Annotated[str, typer.Option(help="A network of the benchmarks.")] = "autoencoder-1000",
    parts: Annotated[str, typer.Option(help="Names with commas; all if left out.")] = "",
    runs: Annotated[int, typer.Option(help="First calls from the cache.", min=1)] = 2,
    rounds: Annotated[int, typer.Option(help="Timed rounds.", min=2)] = 5,
    threads: Annotated[int | None, typer.Option(help="Threads of libraries.")] = None,
    lock: Annotated[Path | None, typer.Option(help="A file to lock while measuring.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the record.")] = OUTPUT / "rewrites",
) -> None:
    """Measure, print tables and write a record."""
    chosen(backend, BACKENDS, "--backend")
    wanted = [p.strip() for p in parts.split(",") if p.strip()]
    selected = [p for p in PARTS[backend] if not wanted or p.name in wanted]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(backend, net, Path(folder), Turns(lock), threads)
        bench.updates([part for part in selected if part.updates], rounds)
        bench.first_calls([part for part in selected if part.compiles], runs)
    for kind in KINDS:
        print("\n".join([kind, "", *table(bench.found, kind), ""]))
    record = {"machine": kfgn.machine_record(), "threads": threads, "parts": bench.found}
    print(f"Wrote {write_json(output / f'{backend}_{net}.json', record)}")


if __name__ == "__main__":
    typer.run(main)
