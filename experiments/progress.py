"""A run on the terminal: a progress bar with the loss, or plain lines where there is none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.runs import Run

OnUpdate = Callable[[Run, float], None]
LINES = 10


@contextmanager
def progress_display(name: str, console: Console) -> Iterator[OnUpdate]:
    """Show a run's progress; gives the function to call after each update.

    On a terminal a bar with the batch's loss; elsewhere a line for every tenth of the budget.
    """
    if not console.is_terminal:
        yield _line_printer(name, console)
        return
    columns = (
        TextColumn("{task.description:>5}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(name, total=1.0, state="compiling")

        def show(run: Run, spent: float) -> None:
            progress.update(task, completed=spent, state=_state(run))

        yield show


def _line_printer(name: str, console: Console) -> OnUpdate:
    printed = -1

    def show(run: Run, spent: float) -> None:
        nonlocal printed
        if int(spent * LINES) > printed:
            printed = int(spent * LINES)
            console.print(f"{name:>5} {spent:>5.0%}  {_state(run)}", highlight=False)

    console.print(f"{name:>5} compiling", highlight=False)
    return show


def _state(run: Run) -> str:
    return f"update {run.updates:>5}  batch loss {run.losses[-1]:>9.5g}"
