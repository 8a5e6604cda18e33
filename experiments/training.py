"""Train a network with a step for a budget, keeping what a comparison needs.

Only the steps count as a method's seconds: not the making of batches, not the evaluations.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pytensor

import kfgn_graph as kfgn
from experiments.backends import Backend, backend_mode
from experiments.optimisers import Optimiser, Step
from experiments.runs import Budget, Evaluation, Run

Evaluate = Callable[[], float]


def shuffled_batches(
    arrays: Sequence[np.ndarray], batch: int, seed: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield batches for ever, each epoch in a new order; what does not fill a batch is left out.

    Parameters
    ----------
    arrays : sequence of ndarray
        Equally long, examples in rows.
    batch : int
        Examples a batch.
    seed : int
        Of the order.

    Raises
    ------
    ValueError
        A batch holds more examples than there are.
    """
    count = len(arrays[0])
    if not 0 < batch <= count:
        raise ValueError(f"A batch of {batch} cannot be had from {count} examples.")
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - batch + 1, batch):
            chosen = order[start : start + batch]
            yield tuple(np.ascontiguousarray(array[chosen]) for array in arrays)


def compile_evaluation(
    network: kfgn.Network, arrays: Sequence[np.ndarray], batch: int, backend: Backend = "auto"
) -> Evaluate:
    """Compile the loss over a whole data set, at the parameters' values of the moment.

    Parameters
    ----------
    network : Network
        Its loss has to be a mean over the batch.
    arrays : sequence of ndarray
        The data, in the order of ``network.inputs``.
    batch : int
        Examples at a time.
    backend : str
        As in :func:`kfgn_graph.compile_update`.

    Returns
    -------
    callable
        Without arguments; returns the mean over all examples.
    """
    loss = pytensor.function(
        list(network.inputs), network.loss, mode=backend_mode(backend), on_unused_input="ignore"
    )
    count = len(arrays[0])

    def evaluate() -> float:
        total = 0.0
        for start in range(0, count, batch):
            part = [array[start : start + batch] for array in arrays]
            total += float(loss(*part)) * len(part[0])
        return total / count

    return evaluate


def train(
    optimiser: Optimiser,
    network: kfgn.Network,
    batches: Iterator[tuple[np.ndarray, ...]],
    evaluate: Evaluate,
    budget: Budget,
    backend: Backend = "auto",
    seed: int = 0,
    parts: int = 6,
    at: Collection[int] | None = None,
    on_update: Callable[[Run, float], None] | None = None,
) -> Run:
    """Train until the budget is spent, or until the training-set loss is no longer finite.

    Parameters
    ----------
    optimiser : Optimiser
        The method.
    network : Network
        Its parameters are trained in place.
    batches : iterator
        Gives a batch an update.
    evaluate : callable
        The training-set loss.
    budget : Budget
        When to stop.
    backend, seed
        For the compiled step.
    parts : int
        Evaluate whenever another 1/parts of the budget is spent.
    at : collection of int, optional
        Evaluate after so many updates instead, and at the end.
    on_update : callable, optional
        Called after each update with the run so far and the share of the budget spent.

    Returns
    -------
    Run
    """
    run = Run(optimiser.name, optimiser.settings)
    run.evaluations.append(Evaluation(0, 0.0, evaluate()))
    step = _first_update(run, optimiser, network, next(batches), backend, seed)
    done, elapsed = 0, 0.0
    while True:
        spent = budget.spent(run.updates, elapsed)
        if on_update is not None:
            on_update(run, min(spent, 1.0))
        due = run.updates in at if at is not None else int(spent * parts) > done
        if spent >= 1.0 or due:
            done = int(spent * parts)
            run.evaluations.append(_evaluation(run.updates, elapsed, step, network, evaluate))
        if spent >= 1.0 or run.lost:
            run.skipped = step.skipped
            return run
        batch = next(batches)
        start = time.perf_counter()
        loss = step(*batch)
        elapsed += time.perf_counter() - start
        run.losses.append(loss)
        run.seconds.append(elapsed)


def _evaluation(
    updates: int, seconds: float, step: Step, network: kfgn.Network, evaluate: Evaluate
) -> Evaluation:
    """Evaluate the parameters, and the averaged iterates where there are any."""
    loss, averaged_loss = evaluate(), None
    averaged = step.averaged()
    if averaged is not None:
        with _values_in_place(network, averaged):
            averaged_loss = evaluate()
    return Evaluation(updates, seconds, loss, averaged_loss, step.statistics())


@contextmanager
def _values_in_place(network: kfgn.Network, named: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Let the parameters have other values while the block runs."""
    kept = parameter_values(network)
    set_parameter_values(network, [named[str(p.name)] for p in network.parameters])
    try:
        yield
    finally:
        set_parameter_values(network, kept)


def _first_update(
    run: Run,
    optimiser: Optimiser,
    network: kfgn.Network,
    batch: tuple[np.ndarray, ...],
    backend: Backend,
    seed: int,
) -> Step:
    """Compile the step and call it once; its time is the compile time."""
    start = time.perf_counter()
    step = optimiser.compile(network, backend, seed)
    run.losses.append(step(*batch))
    run.compile_seconds = time.perf_counter() - start
    run.seconds.append(0.0)
    return step


def parameter_values(network: kfgn.Network) -> list[np.ndarray]:
    """Return copies of the parameters' values."""
    return [np.array(parameter.get_value()) for parameter in network.parameters]


def set_parameter_values(network: kfgn.Network, values: Sequence[np.ndarray]) -> None:
    """Set the parameters; the arrays given are copied."""
    for parameter, value in zip(network.parameters, values, strict=True):
        parameter.set_value(np.array(value))
