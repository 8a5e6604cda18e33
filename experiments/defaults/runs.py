"""The runs of the study: one JSON file each, kept, and skipped where it is there."""

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console

import kfgn_graph as kfgn
from experiments.backends import Backend, resolve_backend
from experiments.defaults.problems import Problem
from experiments.optimisers import CURVATURES, FirstOrder, GaussNewton, Optimiser, Rule
from experiments.peers.alternation import calm_lapack
from experiments.progress import progress_display
from experiments.records import write_json
from experiments.runs import Budget, Run
from experiments.training import compile_evaluation, shuffled_batches, train

SECOND_ORDER = ("kfra", "kflr", "kfac")
FIRST_ORDER = ("adam", "nesterov")
METHODS = (*SECOND_ORDER, *FIRST_ORDER)
MOST_OUTPUTS = 32
"""KFLR back-propagates as many vectors as there are outputs: it runs up to so many."""
EVALUATED = 1000
"""Examples at a time when the whole training set is evaluated."""
SHARES = (0.025, 0.05, 0.1, 0.15, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""When the whole training set is evaluated, in shares of a run."""


@dataclass(frozen=True)
class Task:
    """One run: a problem, a method and a seed; ``rate`` for the first-order methods alone."""

    problem: Problem
    method: str
    seed: int
    rate: float | None = None

    @property
    def stem(self) -> str:
        """Of its file."""
        rate = "" if self.rate is None else f"-{self.rate:.3g}"
        return f"{self.problem.name}--{self.method}{rate}--seed{self.seed}"

    def optimiser(self) -> Optimiser:
        """Return the method: the second-order ones with the package's defaults."""
        if self.method in CURVATURES:
            return GaussNewton(self.method)  # type: ignore[arg-type]
        return FirstOrder(cast(Rule, self.method), cast(float, self.rate))


def tasks(
    problems: Sequence[Problem],
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] | None = None,
    rates: Sequence[float] | None = None,
) -> Iterator[Task]:
    """Yield the runs of the study.

    Parameters
    ----------
    problems : sequence of Problem
        Which.
    methods : sequence of str
        Of ``METHODS``. KFLR is left out where a problem has many outputs.
    seeds, rates : sequence, optional
        Instead of each problem's own.
    """
    for problem in problems:
        for method in methods:
            if method == "kflr" and problem.outputs > MOST_OUTPUTS:
                continue
            grid: Sequence[float | None] = [None]
            if method in FIRST_ORDER:
                grid = rates or problem.rates[method]
            for seed in seeds or problem.seeds:
                for rate in grid:
                    yield Task(problem, method, seed, rate)


def run_tasks(
    wanted: Sequence[Task], folder: Path, console: Console, backend: Backend = "auto"
) -> None:
    """Do every run whose file is not in the folder; a failure is told and leaves no file.

    Raises
    ------
    DataNotFound, DataCorrupt
        A problem's data are not to be had.
    """
    missing = [task for task in wanted if not (folder / f"{task.stem}.json").is_file()]
    console.print(f"{len(wanted) - len(missing)} runs are there, {len(missing)} to do")
    for number, task in enumerate(missing, 1):
        console.print(f"[{number}/{len(missing)}] {task.stem}", highlight=False, markup=False)
        write_json(folder / f"{task.stem}.json", run_task(task, console, backend))


def run_task(task: Task, console: Console, backend: Backend = "auto") -> dict[str, object]:
    """Do one run and return its record."""
    problem, method = task.problem, task.optimiser()
    material = problem.load()
    network = problem.build(task.seed)
    batches = shuffled_batches(material.arrays, problem.batch, task.seed)
    at = {round(share * problem.updates) for share in SHARES}
    with (
        warnings.catch_warnings(),
        calm_lapack(resolve_backend(backend) == "jax"),
        progress_display(f"{method.name} {method.settings}", console) as on_update,
    ):
        # JAX checks shapes while it traces; PyTensor remarks that its own check is left out.
        warnings.filterwarnings("ignore", "Skipping Assert", UserWarning)
        evaluate = compile_evaluation(network, material.arrays, EVALUATED, backend)
        run = train(
            method,
            network,
            batches,
            evaluate,
            Budget(updates=problem.updates),
            backend,
            task.seed,
            at=at,
            on_update=on_update,
        )
    console.print(f"  {run.final.loss:.5g} after {run.updates} updates", highlight=False)
    return record(task, material.floor, run)


def record(task: Task, floor: float, run: Run) -> dict[str, object]:
    """Return what is kept of a run."""
    return {
        "problem": task.problem.name,
        "method": task.method,
        "rate": task.rate,
        "seed": task.seed,
        "batch": task.problem.batch,
        "updates": task.problem.updates,
        "floor": floor,
        "lost": run.lost,
        "diverged": run.diverged,
        "run": asdict(run),
        "machine": kfgn.machine_record(),
    }


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """Read every run of a folder, in the order of their names; a null loss is NaN."""
    records = []
    for path in sorted(folder.glob("*--seed*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        for part in found["run"]["evaluations"]:
            part["loss"] = np.nan if part["loss"] is None else part["loss"]
        records.append(found)
    return records
