"""Run the networks in processes of their own, which may crash or hang."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import IO, Any

from experiments.support.catalogue import Entry
from experiments.support.checks import Failure, Result
from experiments.support.worker import MARK


def examined(entries: Sequence[Entry], backend: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the row of each network, in order.

    Parameters
    ----------
    entries : sequence of Entry
    backend : str
        The backend to train on; empty to train not at all.
    seconds : float
        The time for a network, after which its process is ended.
    """
    waiting = list(entries)
    while waiting:
        names = [entry.name for entry in waiting]
        command = [sys.executable, "-m", "experiments.support.worker", backend, *names]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = _lines(process.stdout)
            while waiting:
                row, reason = _next(lines, seconds)
                entry = waiting.pop(0)
                if row is not None:
                    yield row
                    continue
                process.kill()
                yield _crash(entry, reason or f"the process ended with {process.wait()}")
                break


def _lines(stream: IO[str]) -> queue.Queue[str]:
    """Return a queue of the lines of a stream; an empty string ends it."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return lines


def _next(lines: queue.Queue[str], seconds: float) -> tuple[dict[str, Any] | None, str]:
    """Return the next row, or None with the reason if it is known."""
    while True:
        try:
            line = lines.get(timeout=seconds)
        except queue.Empty:
            return None, f"no result after {seconds:.0f} s"
        if line.startswith(MARK):
            return json.loads(line[len(MARK) :]), ""
        if not line:
            return None, ""


def _crash(entry: Entry, reason: str) -> dict[str, Any]:
    result = Result(entry.section, entry.name, entry.description)
    result.failures["process"] = Failure("ProcessEnded", reason, refused=False)
    return result.as_dict()
