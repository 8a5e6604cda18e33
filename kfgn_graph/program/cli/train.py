"""``kfgn train`` and ``kfgn resume``: start a run, and continue it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from kfgn_graph.errors import KfgnError, SpecError
from kfgn_graph.program.cli.common import (
    INTERRUPTED,
    AsJson,
    SpecArgument,
    console,
    escape,
    on_terminal,
    print_json,
    printable,
    told,
)
from kfgn_graph.program.cli.paths import folder_named
from kfgn_graph.program.cli.progress import Bar, Lines, Silence
from kfgn_graph.program.resuming import code_of
from kfgn_graph.program.runs import RunRecord, read_run
from kfgn_graph.program.spec import load_spec
from kfgn_graph.program.spec.models import BudgetSpec
from kfgn_graph.program.training import Outcome, go_on, start

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", parser=folder_named, help="The folder of a run.")
]
Runs = Annotated[
    Path,
    typer.Option(
        "--runs",
        metavar="PATH",
        parser=folder_named,
        help="The folder in which to create the run's folder.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Do not show progress.")]
Updates = Annotated[
    int | None, typer.Option("--updates", min=1, help="Replace the budget: total updates.")
]
Epochs = Annotated[
    float | None, typer.Option("--epochs", help="Replace the budget: total passes over the data.")
]
Seconds = Annotated[
    float | None, typer.Option("--seconds", help="Replace the budget: total seconds of training.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a key of the spec, such as method.name=kflr; may be repeated.",
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="FILE", help="The file name of an older checkpoint of the run."
    ),
]

Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Execute the function that the run's spec names, without asking."
    ),
]


@told
def train(
    spec: SpecArgument,
    runs: Runs = Path("runs"),
    updates: Updates = None,
    epochs: Epochs = None,
    seconds: Seconds = None,
    overrides: Set = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a spec, and write metrics, snapshots and checkpoints to a new folder.

    Ctrl-C stops after the current update and writes a checkpoint, from which `kfgn resume`
    continues. A second Ctrl-C leaves out the evaluation, a third stops at once.
    """
    wanted, folder = load_spec(spec, overrides or [])
    budget = _budget(updates, epochs, seconds)
    if budget is not None:
        wanted = wanted.model_copy(update={"budget": budget})
    with _watcher(quiet or as_json) as watch:
        outcome = start(wanted, Path.cwd() if folder is None else folder, runs, watch)
    _tell(outcome, as_json)


@told
def resume(
    run: RunArgument,
    checkpoint: From = None,
    updates: Updates = None,
    epochs: Epochs = None,
    seconds: Seconds = None,
    trust: Trust = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Continue a run from its newest checkpoint, as if it had not been interrupted.

    Where the run's spec names a function of a module, resuming executes that module. On a
    terminal the program asks first; elsewhere --trust is needed.
    """
    budget = _budget(updates, epochs, seconds)
    trust = trust or _asked(run)
    with _watcher(quiet or as_json) as watch:
        outcome = go_on(run, watch, checkpoint, budget, trust)
    _tell(outcome, as_json)


def _asked(run: Path) -> bool:
    """Ask on a terminal whether to execute the code that a run names, if it names any."""
    record = read_run(run)
    if record.spec.graph is None or not (sys.stdin and sys.stdin.isatty()):
        return False
    question = f"{printable(str(run))}: {printable(code_of(record))} Execute it?"
    return typer.confirm(question, abort=True, err=True)


def _budget(updates: int | None, epochs: float | None, seconds: float | None) -> BudgetSpec | None:
    """Return the budget set by the options, or None if no option is given."""
    given = {"updates": updates, "epochs": epochs, "seconds": seconds}
    limits = {key: value for key, value in given.items() if value is not None}
    if not limits:
        return None
    try:
        return BudgetSpec.model_validate(limits)
    except ValidationError as error:
        wrong = error.errors()[0]
        rule = wrong["msg"].removeprefix("Input ")
        raise SpecError(f"--{wrong['loc'][0]}: found {wrong['input']}, but it {rule}.") from None


def _watcher(quiet: bool) -> Lines:
    if quiet:
        return Silence(Console(stderr=True, highlight=False, soft_wrap=True))
    out = console()
    return Bar(out) if on_terminal() else Lines(out)


def _tell(outcome: Outcome, as_json: bool) -> None:
    if outcome.reason == "output":
        raise KfgnError(
            f"the output cannot be written ({outcome.problem}), so training was stopped after "
            f"update {outcome.update:,}, with a checkpoint. To continue: kfgn resume "
            f"{outcome.path}"
        )
    record = read_run(outcome.path)
    if as_json:
        print_json(_document(outcome, record))
    else:
        console().print(_line(outcome))
    if outcome.reason == "diverged":
        raise KfgnError(
            f"{outcome.path}: the loss was not finite for many consecutive updates, so training "
            "was stopped. Lower method.rate, or choose a second-order method."
        )
    if outcome.reason == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _document(outcome: Outcome, record: RunRecord) -> dict[str, object]:
    return {
        "run": str(outcome.path),
        "update": outcome.update,
        "seconds": outcome.seconds,
        "reason": outcome.reason,
        "evaluation": record.evaluations[-1] if record.evaluations else None,
    }


def _line(outcome: Outcome) -> str:
    place = escape(str(outcome.path))
    line = f"{place}: {outcome.update:,} updates in {outcome.seconds:.1f} s"
    if outcome.reason == "interrupted":
        return f"{line}; stopped. To continue: kfgn resume {place}"
    return f"{line}. To see them: kfgn report {place}"
