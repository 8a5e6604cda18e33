"""Timing an update in turn with a matrix product: what else the machine does slows both."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from kfgn_graph.program.building import Task
from kfgn_graph.program.spec.models import GraphSpec
from kfgn_graph.program.steps import Step
from kfgn_graph.program.threads import single_threaded_lapack

FIRST = 50
"""So many updates do everything, whatever the periods: they are taken before any is timed."""
UNIT_SIZE = 2000
"""Rows and columns of the float32 matrices whose product is the unit."""
UNIT_FLOPS = 2.0 * UNIT_SIZE**3
LONGEST_PERIOD = 100


@dataclass(frozen=True)
class Timing:
    """How long an update takes, in seconds and in units of a 2000x2000x2000 float32 product.

    What is due repeats with a period. Figures of an update are medians over periods for each of
    a period's phases, and the mean of those.

    Attributes
    ----------
    first_call : float
        Seconds of the first update, in which a backend may compile.
    seconds : float
        Of an update.
    units : float
        Of an update, each divided by the mean of the products around it.
    quartiles : tuple of float
        First and third, of all timed updates, in units.
    unit : float
        Seconds of the product, its median.
    updates : int
        How many were timed.
    """

    first_call: float
    seconds: float
    units: float
    quartiles: tuple[float, float]
    unit: float
    updates: int


def period_of(spec: GraphSpec) -> int:
    """Return after how many updates what is due repeats; at most 100."""
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
    """Take updates on batches of the task's data, and time them.

    Parameters
    ----------
    task : Task
        Has the data.
    step : Step
        Is called, and trains: the first 50 updates of a second-order method are not timed.
    repeats : int
        Updates to time, at least: whole periods are, three or more.
    pause : float
        Seconds of sleep before each call: threads of a BLAS spin for a while after their work,
        and would slow the next call.
    """
    period = period_of(task.spec)
    count = max(3, -(-repeats // period)) * period
    with single_threaded_lapack(task.spec.backend):
        calls: list[Callable[[], object]] = [partial(step, *batch) for batch in _batches(task)]
        first = _seconds(calls[0], 0.0)
        for index in range(1, 2 if task.spec.method.first_order else FIRST):
            calls[index % len(calls)]()
        return _alternated(calls, first, count, period, pause)


def _alternated(
    calls: list[Callable[[], object]], first: float, count: int, period: int, pause: float
) -> Timing:
    """Time updates, with the unit before and after each."""
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
    """Return the unit: NumPy's product of two fixed matrices, into memory that stays."""
    rng = np.random.default_rng(1)
    shape = (UNIT_SIZE, UNIT_SIZE)
    left, right = rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32)
    return partial(np.matmul, left, right, out=np.empty_like(left))


def _batches(task: Task, most: int = 4) -> list[list[np.ndarray]]:
    """Return a few batches of a random order of the data, which no update sees twice running."""
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
    """Return the mean over phases of the median over periods."""
    return statistics.mean(statistics.median(values[phase::period]) for phase in range(period))
