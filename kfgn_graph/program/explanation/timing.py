"""The timing of an update, alternated with a matrix product, so that other load slows both."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from kfgn_graph.program.batches import told_of_data
from kfgn_graph.program.spec.models import GraphSpec
from kfgn_graph.program.steps import Step
from kfgn_graph.program.task import Task
from kfgn_graph.program.threads import single_threaded_lapack

FIRST = 50
"""The number of first updates, in which nothing is skipped. They are not timed."""
UNIT_SIZE = 2000
"""The rows and columns of the float32 matrices in the product that is the unit."""
UNIT_FLOPS = 2.0 * UNIT_SIZE**3
LONGEST_PERIOD = 100


@dataclass(frozen=True)
class Timing:
    """The time of an update, in seconds and in units of a 2000x2000x2000 float32 product.

    The work of an update repeats with a period. The time is a median over the periods for each
    phase of a period, averaged over the phases.

    Attributes
    ----------
    first_call : float
        The seconds of the first update, in which a backend may compile.
    seconds : float
        The time of an update in seconds.
    units : float
        The time of an update divided by the mean time of the products before and after it.
    quartiles : tuple of float
        The first and third quartile of all timed updates, in units.
    unit : float
        The median seconds of the product.
    updates : int
        The number of timed updates.
    """

    first_call: float
    seconds: float
    units: float
    quartiles: tuple[float, float]
    unit: float
    updates: int


def period_of(spec: GraphSpec) -> int:
    """Return the number of updates after which the work repeats; at most 100."""
    schedule, damping = spec.schedule, spec.damping
    if spec.method.first_order:
        return 1
    periods = [damping.every] if spec.step.length is not None else []
    if spec.method.name != "hessianfree":
        periods += [schedule.factors_every, schedule.refresh_every]
    if damping.gamma == "search":
        periods.append(damping.gamma_every)
    return min(math.lcm(*periods), LONGEST_PERIOD)


def time_updates(task: Task, step: Step, repeats: int, pause: float = 0.0) -> Timing:
    """Time updates on batches of the task's data.

    Parameters
    ----------
    task : Task
        The task, which holds the data.
    step : Step
        The step to call, which trains the parameters. The first 50 updates of a second-order
        method are not timed.
    repeats : int
        The minimum number of updates to time. Whole periods are timed, at least three.
    pause : float
        The seconds to sleep before each call. The threads of a BLAS spin for a while after their
        work and would slow the next call.

    Raises
    ------
    SpecError
        The data do not fit the graph.
    """
    period = period_of(task.spec)
    count = max(3, -(-repeats // period)) * period
    with single_threaded_lapack(task.spec.backend):
        calls: list[Callable[[], object]] = [partial(step, *batch) for batch in _batches(task)]
        with told_of_data():
            first = _seconds(calls[0], 0.0)
        for index in range(1, 2 if task.spec.method.first_order else FIRST):
            calls[index % len(calls)]()
        return _alternated(calls, first, count, period, pause)


def _alternated(
    calls: list[Callable[[], object]], first: float, count: int, period: int, pause: float
) -> Timing:
    """Time updates, each between two products."""
    unit = unit_product()
    unit()
    units, steps = [_seconds(unit, pause)], []
    for index in range(count):
        steps.append(_seconds(calls[index % len(calls)], pause))
        units.append(_seconds(unit, pause))
    around = [(before + after) / 2 for before, after in pairwise(units)]
    ratios = [taken / beside for taken, beside in zip(steps, around, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return Timing(
        first,
        _by_phase(steps, period),
        _by_phase(ratios, period),
        (low, high),
        statistics.median(units),
        count,
    )


def unit_product() -> Callable[[], object]:
    """Return a call of the unit: NumPy's product of two fixed matrices into a fixed array."""
    rng = np.random.default_rng(1)
    shape = (UNIT_SIZE, UNIT_SIZE)
    left, right = rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32)
    return partial(np.matmul, left, right, out=np.empty_like(left))


def _batches(task: Task, most: int = 4) -> list[list[np.ndarray]]:
    """Return a few batches of the data in random order, so that consecutive updates differ."""
    count, size = len(task.arrays[0]), task.spec.batch
    order = np.random.default_rng(task.spec.seed).permutation(count)
    starts = range(0, count - size + 1, size)[:most]
    return [[array[order[at : at + size]] for array in task.arrays] for at in starts]


def _seconds(call: Callable[[], object], pause: float) -> float:
    time.sleep(pause)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _by_phase(values: list[float], period: int) -> float:
    """Return the mean over the phases of the median over the periods."""
    return statistics.mean(statistics.median(values[phase::period]) for phase in range(period))
