"""Measure cases, each in a process of its own, and keep a file of each."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import kfgn_graph as kfgn
from experiments.benchmarks.cases import Case
from experiments.benchmarks.figures import figures
from experiments.environments import run_script
from experiments.peers.training import write_task
from experiments.records import write_json
from experiments.training import parameter_values

Record = dict[str, Any]


def measure_all(
    cases: Sequence[Case],
    runs: int,
    folder: Path,
    fresh: bool = False,
) -> list[Record]:
    """Measure what is not there yet, and return the records of all.

    Parameters
    ----------
    cases : sequence of Case
        What is wanted, all of it once a run before any is measured again.
    runs : int
        How often everything is measured; compilers begin with empty caches, and with what the
        first run left there in those after it.
    folder : Path
        A file for each case and run.
    fresh : bool
        Whether what is there is measured again.
    """
    records = []
    with tempfile.TemporaryDirectory() as caches:
        for run, (index, case) in product(range(1, runs + 1), enumerate(cases, 1)):
            path = folder / f"{case.key}_run{run}.json"
            kept = None if fresh else read_record(path, case)
            if kept is None:
                print(f"run {run}, {index} of {len(cases)}: {case.key}", flush=True)
                kept = record_of(case, run, Path(caches) / case.key)
                write_json(path, kept)
            if run == runs:
                shutil.rmtree(Path(caches) / case.key, ignore_errors=True)
            records.append(kept)
    return records


def read_record(path: Path, case: Case) -> Record | None:
    """Return the record of a case if the file has it as it would be measured here and now.

    A case that failed, one with other settings, one of another machine and one from before the
    caches and an update's memory were told are measured again. The figures are computed anew
    from the seconds that were timed.
    """
    if not path.is_file():
        return None
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    here = kfgn.machine_record()
    same_machine = all(record["machine"][name] == here[name] for name in ("processor", "cpus"))
    same_settings = record["settings"] == json.loads(json.dumps(case.settings()))
    complete = "cold" in record and not record.get("failure")
    if not (same_machine and same_settings and complete):
        return None
    if "measured" in record:
        record["figures"] = figures(case, record["measured"])
    return record


def record_of(case: Case, run: int, caches: Path) -> Record:
    """Measure a case; where it cannot be, the record says why.

    ``reason`` tells of what is not measured on purpose, ``failure`` of what went wrong, ``cold``
    whether the compilers' caches were empty.
    """
    record: Record = {
        "key": case.key,
        "run": run,
        "note": case.note,
        "reason": case.reason,
        "settings": case.settings(),
        "machine": kfgn.machine_record(),
        "cold": not caches.exists(),
    }
    if case.reason:
        return record
    try:
        measured = measure_apart(case, caches)
    except RuntimeError as error:
        return {**record, "failure": str(error)}
    return {**record, "measured": measured, "figures": figures(case, measured)}


def measure_apart(case: Case, caches: Path) -> Record:
    """Measure a case in a process of its own, a peer's in its environment, made if need be.

    Raises
    ------
    RuntimeError
        The environment cannot be made, or the process failed; its last lines are in the message.
    """
    environment = case.description.environment
    interpreter = environment.ensure() if environment else Path(sys.executable)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task, answer = folder / "task.npz", folder / "answer.json"
        x, y = case.net.data()
        write_task(task, parameter_values(case.net.network()), x, case.settings(), y)
        settings = {"JAX_PLATFORMS": "cpu"} if environment else compiling_in(caches)
        arguments = [str(task), str(answer)]
        run_script(interpreter, case.description.script, arguments, case.system, settings)
        found: Record = json.loads(answer.read_text(encoding="utf-8"))
    return found


def compiling_in(folder: Path) -> Mapping[str, str]:
    """Return settings by which compilers keep in a folder what they make."""
    flags = [flag for flag in (os.environ.get("PYTENSOR_FLAGS"),) if flag]
    return {
        "PYTENSOR_FLAGS": ",".join([*flags, f"base_compiledir={folder / 'pytensor'}"]),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }


def stop_if_failed(records: Iterable[Record]) -> None:
    """End the program with a status of 1 if something went wrong, and tell what."""
    wrong = failures(records)
    if wrong:
        raise SystemExit("\n\n".join(["Not all could be measured.", *wrong]))


def failures(records: Iterable[Record]) -> list[str]:
    """Return what went wrong, case by case."""
    return [f"{r['key']}, run {r['run']}: {r['failure']}" for r in records if r.get("failure")]
