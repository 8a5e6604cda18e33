"""Updates of a random graph: what they report, and where the parameters go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor

import kfgn_graph as kfgn
from experiments.fuzzing.graphs_cases import Case, Problem
from experiments.fuzzing.graphs_comparison import Fault, check, problem_of, python_function
from experiments.fuzzing.graphs_judge import Truth

Array = np.ndarray
Update = Callable[..., Any]


def trained(case: Case, backend: str) -> str:
    """Make two updates of an accepted graph; return what is to be added to its outcome.

    Parameters
    ----------
    case : Case
        The graph.
    backend : str
        A backend of the package, or 'python' for the update as a PyTensor function in Python.
    """
    problem = problem_of(case)
    truth = Truth(case, [p.name for p in problem.trained])
    if not truth.finite() or truth.tape.ties:
        return ""
    method = case.choices("training").choice([kfgn.KFLR(), kfgn.KFRA(), kfgn.KFAC()])
    settings = {"method": method, "output": problem.output, "unmatched": problem.treatment}
    try:
        update = _in_python(problem, settings) if backend == "python" else None
        if update is None:
            update = kfgn.compile_update(
                problem.loss, problem.trained, problem.inputs, backend=backend, **settings
            )
        return f", {_judged(case, problem, truth, update)} on {backend}"
    except kfgn.CurvatureRuleNotFound:
        return f", untrained by {type(method).__name__}"
    except kfgn.BatchError:
        if case.draw.count == 1:
            return ", untrained on one example"
        raise


def _in_python(problem: Problem, settings: dict[str, Any]) -> Update:
    """Return an update as a PyTensor function that returns the loss."""
    updates = kfgn.kfgn_updates(problem.loss, problem.trained, **settings)
    return python_function(problem.inputs, [problem.loss], list(updates.items()))


def _judged(case: Case, problem: Problem, truth: Truth, update: Update) -> str:
    """Make two updates, and compare."""
    dtype = case.draw.dtype
    before = _values(problem)
    stats = update(*problem.batch)
    loss = stats[0] if isinstance(stats, list) else stats.loss
    check("loss of the update", loss, truth.loss.value, dtype)
    frozen = _frozen(problem)
    gradients = {p.name: truth.gradient(p.name) for p in problem.trained if p not in frozen}
    if not isinstance(stats, list):
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        check("gradient norm of the update", stats.gradient_norm, norm, dtype)
    after = _values(problem)
    if not all(np.isfinite(value).all() for value in after.values()):
        raise Fault("parameters are not finite after an update")
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    largest = max((float(np.abs(g).max()) for g in gradients.values()), default=0.0)
    still = {n for n, g in gradients.items() if np.abs(g).max() > 1e-4 * largest} - moved
    if moved - set(gradients):
        raise Fault(f"parameters that are not trained moved\n{moved - set(gradients)}")
    if moved and still:
        raise Fault(f"parameters without a step\n{still} of {set(gradients)}")
    _, wanted = case.meaning(0, parameters=after)
    again = update(*problem.batch)
    loss = again[0] if isinstance(again, list) else again.loss
    if np.isfinite(wanted.value):
        check("loss after the update", loss, wanted.value, dtype)
    if moved or not still:
        return "trained"
    if isinstance(stats, list):
        return "no step"
    if not stats.skipped and not stats.rejected:
        raise Fault(f"no step without a reason\n{stats}")
    return "skipped" if stats.skipped else "rejected"


def _values(problem: Problem) -> dict[str, Array]:
    return {name: np.array(p.get_value()) for name, p in problem.parameters.items()}


def _frozen(problem: Problem) -> list[Any]:
    if problem.treatment != "freeze":
        return []
    with pytensor.config.change_flags(traceback__limit=0):
        graph = kfgn.trace_layers(problem.loss, problem.trained, problem.output, "freeze")
    return list(graph.unmatched)
