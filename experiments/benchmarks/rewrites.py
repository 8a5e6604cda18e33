"""``python -m experiments.benchmarks.rewrites``: what each part of the backends saves.

An update is compiled with all parts, and without each of them, in separate processes. Memory is
measured in each, and periods of the schedule are timed in turn. A part's figure is the median
ratio of the seconds with it to those without it, between neighbours in time. For parts that serve
first calls, these are timed too: with an empty cache of compiled code, then from that cache.
"""

import fcntl
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from math import ceil
from os import environ
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.benchmarks.__main__ import BACKENDS, OUTPUT, chosen
from experiments.benchmarks.measuring import compiling_in
from experiments.benchmarks.rewrite_parts import NONE, PARTS, Part
from kfgn_graph.program.machine import machine_record, write_json

BETWEEN = 4
"""Parts that are timed between two times of the update with all of them."""
PAUSE = 0.15
"""Seconds after each timed run, in which threads of its BLAS fall asleep."""
SLICE = 70.0
"""Seconds after which a lock that others wait for is released, at the end of a step."""
TOGETHER = 11
"""Parts whose processes are there at once."""
LEAST = 0.2
"""Seconds that a timed run takes, about, at least."""
PERIODS = {"default": 10, "fresh": 1}
"""Updates after which a schedule repeats."""


class Process:
    """A process of ``rewrite_worker.py``, which has compiled its updates.

    Attributes
    ----------
    first_calls : list of float
        Seconds, one for each schedule.
    """

    def __init__(
        self, backend: str, net: str, part: Part, caches: Path, schedules: Sequence[str]
    ) -> None:
        script = Path(__file__).with_name("rewrite_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), backend, net, part.name, *schedules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environ, **compiling_in(caches)},
        )
        self.first_calls = [self._answer() for _ in schedules]

    def _answer(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended, see its last words above")
        (value,) = json.loads(line).values()
        return float(value)

    def ask(self, command: str) -> float:
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
        if self._since is not None and time.monotonic() - self._since > SLICE:
            self.release()

    def release(self) -> None:
        """Let another program have its turn."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._since = None
            time.sleep(PAUSE)


def first_calls(
    backend: str, net: str, part: Part, caches: Path, runs: int, turns: Turns
) -> dict[str, list[float]]:
    """Return the seconds of first calls: with an empty cache, and from what that has left."""
    found = []
    for _ in range(1 + runs):
        with turns:
            process = Process(backend, net, part, caches, ["default"])
            process.close()
        found += process.first_calls
    return {"cold": found[:1], "disk": found[1:]}


def timed(
    processes: Mapping[str, Process], schedule: str, rounds: int, turns: Turns
) -> dict[str, dict[str, Any]]:
    """Return by part the milliseconds of an update, and ratios of those with it to without."""
    whole, period = processes[NONE.name], PERIODS[schedule]
    with turns:
        taken = min(whole.ask(f"time {schedule} {period}") for _ in range(2))
    command = f"time {schedule} {period * ceil(LEAST / (taken * period))}"

    def measured(process: Process) -> float:
        time.sleep(PAUSE)
        return process.ask(command)

    names = [name for name in processes if name != NONE.name]
    ratios: dict[str, list[float]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    for _ in range(rounds):
        with turns:
            before = measured(whole)
            for start in range(0, len(names), BETWEEN):
                group = names[start : start + BETWEEN]
                times = [measured(processes[name]) for name in group]
                after = measured(whole)
                seconds[NONE.name].append(after)
                for place, (name, t) in enumerate(zip(group, times, strict=True), 1):
                    share = place / (len(group) + 1)
                    ratios[name].append(((1 - share) * before + share * after) / t)
                    seconds[name].append(t)
                before = after
    return {
        name: {"ms": 1e3 * statistics.median(seconds[name]), "ratios": ratios.get(name, [])}
        for name in processes
    }


class Bench:
    """The measurement of one network on one backend.

    Parameters
    ----------
    backend, net : str
        The names of the backend and of the network.
    parts : sequence of Part
        The parts that are left out, one at a time.
    folder : Path
        An empty folder for caches of compiled code.
    turns : Turns
        The lock.
    """

    def __init__(
        self, backend: str, net: str, parts: Sequence[Part], folder: Path, turns: Turns
    ) -> None:
        self._names, self._parts, self._turns = (backend, net), parts, turns
        self._folder = folder
        self._caches = {part.name: folder / "shared" for part in [NONE, *parts]}
        self._caches |= {p.name: folder / str(i) for i, p in enumerate(parts) if p.compiles}
        self.found: dict[str, dict[str, Any]] = {
            part.name: {"cold": [], "disk": []} for part in [NONE, *parts]
        }

    def first_calls(self, runs: int) -> None:
        """Time the first calls with all parts, and without those that are there for them."""
        for part in [NONE, *(part for part in self._parts if part.compiles)]:
            self._time_first_calls(part, self._caches[part.name], runs)
        again = self._folder / "again"
        for _ in range(2):
            shutil.rmtree(again, ignore_errors=True)
            self._time_first_calls(NONE, again, runs)

    def _time_first_calls(self, part: Part, caches: Path, runs: int) -> None:
        calls = first_calls(*self._names, part, caches, runs, self._turns)
        for kind, seconds in calls.items():
            self.found[part.name][kind] += seconds
        print(*self._names, part.name, calls, flush=True)

    def updates(self, rounds: int) -> None:
        """Measure the memory and the time of updates, for a few parts at a time."""
        for start in range(0, len(self._parts), TOGETHER):
            group = [NONE, *self._parts[start : start + TOGETHER]]
            with ExitStack() as stack:
                processes = {part.name: self._process(part, stack) for part in group}
                for schedule in PERIODS:
                    count = rounds if schedule == "default" else 2 * rounds
                    times = timed(processes, schedule, count, self._turns)
                    for name, row in times.items():
                        self.found[name][schedule] = row
                        print(*self._names, name, schedule, summary(row), flush=True)
            self._turns.release()

    def _process(self, part: Part, stack: ExitStack) -> Process:
        """Start a process, and measure the memory of its updates."""
        with self._turns:
            process = Process(*self._names, part, self._caches[part.name], list(PERIODS))
            stack.callback(process.close)
            for schedule in PERIODS:
                self.found[part.name][f"{schedule} MiB"] = process.ask(f"memory {schedule}")
        return process


def summary(times: Mapping[str, Any]) -> str:
    """Return milliseconds, and the ratio with its quartiles."""
    ratios = times["ratios"]
    if len(ratios) < 2:
        return f"{times['ms']:.4g} ms"
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{times['ms']:.4g} ms, {middle:.3f} ({low:.3f}-{high:.3f})"


def table(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    heads = ["left out"]
    for schedule in PERIODS:
        heads += [f"{schedule}: ms", "with / without (quartiles)", "MiB"]
    yield " | ".join(["", *heads, "cold s", "from disk s", ""]).strip()
    yield "|---" * (len(heads) + 2) + "|"
    for name, row in found.items():
        cells = [name]
        for schedule in PERIODS:
            ms, _, ratio = summary(row[schedule]).partition(", ")
            cells += [ms.removesuffix(" ms"), ratio, f"{row[f'{schedule} MiB']:.1f}"]
        cells += [", ".join(f"{s:.2f}" for s in row[kind]) for kind in ("cold", "disk")]
        yield " | ".join(["", *cells, ""]).strip()


def main(
    backend: Annotated[str, typer.Option(help="jax, numba or c.")] = "numba",
    net: Annotated[str, typer.Option(help="A network of the benchmarks.")] = "autoencoder-1000",
    parts: Annotated[str, typer.Option(help="Names with commas; all if left out.")] = "",
    runs: Annotated[int, typer.Option(help="First calls from disk.", min=1)] = 2,
    rounds: Annotated[int, typer.Option(help="Timed rounds.", min=2)] = 7,
    lock: Annotated[Path | None, typer.Option(help="A file to lock while measuring.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the record.")] = OUTPUT / "rewrites",
) -> None:
    """Measure, print a table and write a record."""
    chosen(backend, BACKENDS, "--backend")
    wanted = [p.strip() for p in parts.split(",") if p.strip()]
    selected = [p for p in PARTS[backend] if not wanted or p.name in wanted]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(backend, net, selected, Path(folder), Turns(lock))
        bench.first_calls(runs)
        bench.updates(rounds)
    print("\n".join(table(bench.found)))
    record = {"machine": machine_record(), "net": net, "backend": backend, "parts": bench.found}
    print(f"Wrote {write_json(output / f'{backend}_{net}.json', record)}")


if __name__ == "__main__":
    typer.run(main)
