"""The methods: the kernel form of Gauss-Newton, Adam, and L-BFGS of SciPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import pytensor
from scipy.optimize import minimize

import kfgn_graph as kfgn
from experiments.physics.problems import Problem

#: Lambda follows the reduction ratio of every update, since lambda has to fall by many powers of
#: ten while the equation is solved.
DAMPING = kfgn.LevenbergMarquardt(every=1, decay=0.7, lower=0.1, upper=0.6, failure_factor=2.0)
#: The last update is a second direction, and every update that lowers the loss is taken. The whole
#: Gauss-Newton matrix is solved with, so that one step length is enough for all layers.
STEP = kfgn.Rescaling(groups=1, examples=None, reject_below=0.0)


@dataclass
class Curve:
    """The progress of one method on one problem.

    Attributes
    ----------
    compile_seconds : float
        Time to build and compile the update, its first call included.
    updates, seconds, losses, errors : lists
        At each record: the updates so far, the time they took without compilation and without
        the evaluations, the loss, and the relative L2 error.
    """

    problem: str
    method: str
    compile_seconds: float = 0.0
    updates: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def add(self, updates: int, seconds: float, loss: float, error: float) -> None:
        """Append a record."""
        self.updates.append(updates)
        self.seconds.append(seconds)
        self.losses.append(loss)
        self.errors.append(error)


def kernel(problem: Problem, updates: int, seconds: float) -> Curve:
    """Train by :class:`kfgn_graph.KernelGaussNewton`; a record every 10 updates."""
    start = perf_counter()
    update = kfgn.compile_update(
        problem.loss,
        problem.parameters,
        problem.inputs,
        method=kfgn.KernelGaussNewton(),
        damping=DAMPING,
        step=STEP,
    )
    update.check(*problem.batch)
    return _run(problem, "kernel", lambda: float(update(*problem.batch).loss), updates, 10, start)


def adam(problem: Problem, updates: int, seconds: float, rate: float = 1e-3) -> Curve:
    """Train by Adam for a number of seconds, all points in every batch."""
    start = perf_counter()
    update = kfgn.compile_first_order(
        problem.loss, problem.parameters, problem.inputs, "adam", rate
    )
    return _run(problem, "adam", lambda: float(update(*problem.batch)), 10**9, 500, start, seconds)


def lbfgs(problem: Problem, updates: int, seconds: float) -> Curve:
    """Train by SciPy's L-BFGS, with a history of 50, for a number of seconds."""
    start, curve = perf_counter(), Curve(problem.equation.name, "l-bfgs")
    gradients = pytensor.grad(problem.loss, problem.parameters)
    with warnings.catch_warnings():
        # PyTensor's check of broadcasting, which XLA leaves out
        warnings.filterwarnings("ignore", message="Skipping Assert")
        function = pytensor.function(problem.inputs, [problem.loss, *gradients], mode="JAX")
    shapes = [p.get_value().shape for p in problem.parameters]
    ends = np.cumsum([int(np.prod(s)) for s in shapes])[:-1]

    def put(flat: np.ndarray) -> None:
        for p, part, shape in zip(problem.parameters, np.split(flat, ends), shapes, strict=True):
            p.set_value(part.reshape(shape))

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        put(flat)
        loss, *found = function(*problem.batch)
        return float(loss), np.concatenate([np.asarray(g).ravel() for g in found])

    first = np.concatenate([v.ravel() for v in problem.values()])
    value(first)
    begun, paused, count = perf_counter(), 0.0, 0
    curve.compile_seconds = begun - start

    def record(flat: np.ndarray) -> None:
        nonlocal paused, count
        count += 1
        if count % 100 == 0:
            now = perf_counter()
            put(flat)
            curve.add(count, now - begun - paused, value(flat)[0], problem.error())
            paused += perf_counter() - now
        if perf_counter() - begun - paused > seconds:
            raise StopIteration

    options = {"maxiter": 10**7, "maxfun": 10**8, "maxcor": 50, "ftol": 0.0, "gtol": 0.0}
    minimize(value, first, jac=True, method="L-BFGS-B", callback=record, options=options)
    return curve


def _run(
    problem: Problem,
    name: str,
    step: Callable[[], float],
    updates: int,
    every: int,
    start: float,
    seconds: float = np.inf,
) -> Curve:
    """Call a step until a number of updates or seconds is over; the first call compiles."""
    curve, spent = Curve(problem.equation.name, name), 0.0
    step()
    curve.compile_seconds = perf_counter() - start
    for count in range(2, updates + 1):
        begun = perf_counter()
        loss = step()
        spent += perf_counter() - begun
        if count % every == 0 or count == updates:
            curve.add(count, spent, loss, problem.error())
        if spent > seconds:
            break
    return curve


METHODS: dict[str, Callable[[Problem, int, float], Curve]] = {
    "kernel": kernel,
    "adam": adam,
    "l-bfgs": lbfgs,
}
