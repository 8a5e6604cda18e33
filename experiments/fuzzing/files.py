"""Damage the files of a run at random, and give the run to the commands of the program.

Each command has to end with a result or with one of the program's errors and a sentence, and
whatever it refuses it has to leave as it was. ``python -m experiments.fuzzing.files --count N``.
"""

import argparse
import contextlib
import io
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import typer

import kfgn_graph as kfgn
from experiments.fuzzing.mutations import (
    Mutation,
    arrays_damaged,
    bytes_damaged,
    checkpoint_damaged,
    json_damaged,
    lines_damaged,
    tensors_damaged,
)
from experiments.records import write_json
from kfgn_graph.program import training
from kfgn_graph.program.building import build, compile_step
from kfgn_graph.program.cli.common import INTERNAL
from kfgn_graph.program.cli.compare import compare
from kfgn_graph.program.cli.progress import Silence
from kfgn_graph.program.cli.report import report
from kfgn_graph.program.cli.train import resume
from kfgn_graph.program.spec import parse_spec
from kfgn_graph.program.training import Outcome, start

SPEC = """
name = "small"
loss = "softmax"
batch = 5
backend = "jax"
method = { name = "adam" }
[network]
hidden = [3]
[data]
file = "data.npz"
[budget]
updates = 6
[record]
evaluate_every = 3
checkpoint_every = 2
"""
EXAMPLES, FEATURES, CLASSES = 20, 4, 3
TARGETS: list[tuple[str, list[Mutation]]] = [
    ("run.json", [json_damaged, json_damaged, bytes_damaged]),
    ("metrics.jsonl", [lines_damaged, lines_damaged, bytes_damaged]),
    (
        "checkpoints/update-00000006.safetensors",
        [checkpoint_damaged, checkpoint_damaged, tensors_damaged, bytes_damaged],
    ),
    ("snapshots/update-00000006.npz", [arrays_damaged, bytes_damaged]),
    ("../../data.npz", [arrays_damaged, bytes_damaged]),
]
ACCEPTED = 0
CODES = (1, 2, 3, 4)
"""The exit codes of the program's errors that files may cause."""


@dataclass(frozen=True)
class Result:
    """The result of a command.

    Attributes
    ----------
    code : int
        The exit code.
    told : str
        What was printed to standard error.
    update : int or None
        Of ``resume``: the update from which the run would go on; None if it was refused.
    """

    code: int
    told: str
    update: int | None


def main() -> None:
    """Run the fuzzer; exit with 1 if a fault was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("experiments/output/fuzz"))
    options = parser.parse_args()
    began = time.perf_counter()
    outcomes = fuzz(options.count, options.seed, options.output)
    record = {
        "count": options.count,
        "seed": options.seed,
        "outcomes": dict(outcomes.most_common()),
        "seconds": time.perf_counter() - began,
        "machine": kfgn.machine_record(),
    }
    path = write_json(options.output / f"files-{options.seed}.json", record)
    print(json.dumps(record["outcomes"], indent=1), path, sep="\n")
    sys.exit(any(outcome.startswith("FAULT") for outcome in outcomes))


def fuzz(count: int, seed: int, output: Path) -> Counter[str]:
    """Return the number of inputs by outcome; write the inputs with a fault to a folder."""
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, _reading_only(Path(folder)) as (run, accepted):
        intact = _contents(run)
        for number in range(count):
            name, mutations = rng.choice(TARGETS)
            path = run / name
            content = path.read_bytes()
            damaged = rng.choice(mutations)(content, rng)
            path.write_bytes(damaged)
            before = _stamps(Path(folder))
            command, arguments = rng.choice(_commands(name, run, Path(folder)))
            result = run_command(command, arguments, accepted)
            fault = _fault(result, before, _stamps(Path(folder)))
            path.write_bytes(content)
            outcomes[f"{fault}{command.__name__}: exit {result.code}"] += 1
            if fault:
                output.mkdir(parents=True, exist_ok=True)
                place = output / f"{seed}-{number}-{command.__name__}-{path.name}"
                place.write_bytes(damaged)
                place.with_name(f"{place.name}.txt").write_text(f"{fault}\n{result}", "utf-8")
        assert _contents(run) == intact
    return outcomes


def run_command(
    command: Callable[..., None], arguments: dict[str, Any], accepted: list[int]
) -> Result:
    """Run a command of the program in this process."""
    accepted.clear()
    code, told = ACCEPTED, io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
        try:
            command(**arguments)
        except typer.Exit as end:
            code = end.exit_code
        except BaseException as error:  # the commands end by typer.Exit alone
            told.write(f"{type(error).__name__}: {error}")
            code = INTERNAL
    return Result(code, told.getvalue(), accepted[0] if accepted else None)


def _commands(
    name: str, run: Path, folder: Path
) -> list[tuple[Callable[..., None], dict[str, Any]]]:
    """Return the commands that read a file."""
    reports = [(report, {"runs": [run], "output": folder / "report.html"})]
    if name.startswith("snapshots"):
        return reports
    older = "update-00000004.safetensors"
    resumptions = [
        (resume, {"run": run, "quiet": True}),
        (resume, {"run": run, "quiet": True}),
        (resume, {"run": run, "quiet": True, "checkpoint": older}),
    ]
    if name.endswith((".safetensors", "data.npz")):
        return resumptions
    other = folder / "alone" / "small-1"
    comparisons = [(compare, {"runs": [run]}), (compare, {"runs": [run, other], "as_json": True})]
    return [*reports, *comparisons, *resumptions]


def _fault(result: Result, before: Any, after: Any) -> str:
    """Return the fault of a result; an empty text if there is none."""
    if result.code not in (ACCEPTED, *CODES):
        return "FAULT exit code, "
    if result.code and not result.told.startswith("error: "):
        return "FAULT no sentence, "
    if not all(character.isprintable() or character == "\n" for character in result.told):
        return "FAULT control characters, "
    if before != after:
        return "FAULT written, "
    if result.update not in (None, 4, 6):
        return "FAULT updates lost, "
    return ""


@contextlib.contextmanager
def _reading_only(folder: Path) -> Iterator[tuple[Path, list[int]]]:
    """Train a run, and replace what ``resume`` does after reading while the block runs.

    Yields the run's folder, and a list that receives the update from which a run would go on.
    """
    _write_data(folder)
    spec = parse_spec(SPEC, "toml")
    for name in ("alone", "runs"):
        start(spec, folder, folder / name, Silence(_nowhere()))
    (folder / "report.html").write_text("")
    step = compile_step(build(spec, folder))
    accepted: list[int] = []

    def trained(session: Any, watch: Any) -> Outcome:
        accepted.append(session.update)
        return Outcome(session.path, session.update, session.seconds, "updates")

    with (
        patch.object(training, "compile_step", lambda task: step),
        patch.object(training, "_begin_writing", lambda *arguments: None),
        patch.object(training, "_train", trained),
        patch("kfgn_graph.program.outputs.write_safely", lambda *arguments: None),
    ):
        yield folder / "runs" / "small-1", accepted


def _nowhere() -> Any:
    from rich.console import Console

    return Console(file=io.StringIO())


def _write_data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
    np.savez(folder / "data.npz", x=inputs, y=np.arange(EXAMPLES) % CLASSES)


def _stamps(folder: Path) -> list[tuple[str, int, int, int]]:
    """Return what tells whether any file of a folder was written, created or removed."""
    return sorted(
        (f"{parent}/{name}", found.st_ino, found.st_size, found.st_mtime_ns)
        for parent, _, names in os.walk(folder)
        for name in names
        for found in [os.stat(f"{parent}/{name}", follow_symlinks=False)]
    )


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


if __name__ == "__main__":
    main()
