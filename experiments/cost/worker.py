"""The process that measures all updates of one network: ``worker.py TASK ANSWER``.

Every update and XLA's product of two matrices are timed in turn, by the processor's time of this
process. With one thread for everything, that time does not contain other programs' turns.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pytensor

import kfgn_graph as kfgn
from experiments.benchmarks.nets import Net
from experiments.benchmarks.worker import backend_product, leap
from experiments.cost.sweeps import net_of
from experiments.cost.updates import GRADIENT, RATE, Candidate, candidates, spec_of
from experiments.optimisers import Step
from experiments.peers.alternation import Task, calm_lapack, factors, run

SAMPLE = 0.04
"""Seconds that a timed sample takes at least; short updates are timed several at a time."""
Batch = tuple[np.ndarray, ...]


@dataclass
class Compiled:
    """An update that is ready to be timed.

    Attributes
    ----------
    call : callable
        Of a batch.
    memory : dict
        Of :func:`program_memory`.
    calls : int
        Updates of a sample, whole periods of the schedule.
    """

    call: Callable[..., object]
    memory: Mapping[str, int]
    calls: int


def compile_gradient(network: kfgn.Network) -> Any:
    """Compile a step along the gradient, which returns the loss, in the mode of our updates."""
    loss, parameters, inputs = network.loss, list(network.parameters), list(network.inputs)
    mode = kfgn.compile_update(loss, parameters, inputs, backend="jax").mode
    rate = np.asarray(RATE, loss.dtype)
    pairs = zip(parameters, pytensor.grad(loss, parameters), strict=True)
    updates = [(parameter, parameter - rate * gradient) for parameter, gradient in pairs]
    return pytensor.function(inputs, loss, updates=updates, mode=mode)


def loss_of(function: Callable[..., Any], *batch: np.ndarray) -> float:
    """Return the loss that a function computes, as a number, so that the function has ended."""
    return float(function(*batch))


def program_memory(function: Any, batch: Batch) -> dict[str, int]:
    """Return the bytes that XLA's program of an update holds at its peak.

    Parameters
    ----------
    function : PyTensor function
        Of JAX's backend.
    batch : tuple of ndarray
        Its arguments.

    Returns
    -------
    dict
        ``workspace``, the buffers of intermediate results; ``total``, the same with arguments and
        results, those in place of an argument counted once.
    """
    shared = [container.storage[0] for container in function.input_storage][len(batch) :]
    program = function.vm.jit_fn.lower(*batch, *shared).compile()
    found = program.memory_analysis()
    outside = found.argument_size_in_bytes + found.output_size_in_bytes
    workspace = found.temp_size_in_bytes
    return {"workspace": workspace, "total": workspace + outside - found.alias_size_in_bytes}


def compile_candidate(candidate: Candidate, net: Net, batches: Iterator[Batch]) -> Compiled:
    """Compile an update and do the first ones, until its periods count as in a long run."""
    network, batch = net.network(), next(batches)
    case = candidate.case(net)
    if candidate.method == GRADIENT:
        function = compile_gradient(network)
        call: Callable[..., object] = partial(loss_of, function)
    else:
        step: Step = candidate.optimiser.compile(network, "jax")
        function = step.update.function_for(batch)
        call = leap(step, case.warmup) if case.period > 1 else step
    for _ in range(case.warmup + 1):
        call(*next(batches))
    period = [next(batches) for _ in range(case.period)]
    taken = min(seconds_of(partial(run, call, period)) for _ in range(2))
    calls = case.period * math.ceil(SAMPLE / max(taken, 1e-6))
    return Compiled(call, program_memory(function, batch), calls)


def seconds_of(call: Callable[[], object]) -> float:
    """Return the processor's time that this process takes for a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def alternate(
    updates: Mapping[str, Compiled], batches: Iterator[Batch], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Time every update in turn, again and again, each between two products.

    Returns
    -------
    dict
        By the name of the update: ``seconds`` of an update, and ``units``, the mean seconds of
        the products before and after it.
    """
    product = backend_product("jax")(*factors())
    product()
    found: dict[str, dict[str, list[float]]] = {
        name: {"seconds": [], "units": []} for name in updates
    }
    before = seconds_of(product)
    for _ in range(rounds):
        for name, update in updates.items():
            given = [next(batches) for _ in range(update.calls)]
            taken = seconds_of(partial(run, update.call, given)) / update.calls
            after = seconds_of(product)
            found[name]["seconds"].append(taken)
            found[name]["units"].append((before + after) / 2)
            before = after
    return found


def predictions(net: Net, chosen: list[Candidate], data: Path) -> dict[str, dict[str, Any]]:
    """Return the package's prediction of each update, all at the same measured rates."""
    found: dict[str, dict[str, Any]] = {}
    rates: Mapping[str, float] | None = None
    for candidate in reversed(chosen):  # a second-order update first, which measures inversions
        spec = spec_of(net, candidate, data.name)
        made = kfgn.predict_update(spec, data.parent, rates=rates, clock=time.process_time)
        rates = made["rates"]
        kept = ("parts", "operations", "kept_bytes", "predicted_seconds", "rates")
        found[candidate.name] = {name: made[name] for name in kept}
    return found


def measure(task: Task, data: Path) -> dict[str, dict[str, Any]]:
    """Predict and measure all updates of a task; the answer is by their names."""
    net = net_of(task.settings)
    chosen = list(candidates(task.settings["schedules"]))
    predicted = predictions(net, chosen, data)
    batches = cycle(task.batches)
    updates = {c.name: compile_candidate(c, net, batches) for c in chosen}
    timed = alternate(updates, batches, task.settings["rounds"])
    return {
        candidate.name: {
            "method": candidate.method,
            "schedule": candidate.schedule,
            "predicted": predicted[candidate.name],
            "memory": dict(updates[candidate.name].memory),
            "calls": updates[candidate.name].calls,
            **timed[candidate.name],
        }
        for candidate in chosen
    }


def main() -> None:
    """Measure the task of the command line; its file is also the data of the predictions."""
    task, answer = Path(sys.argv[1]), Path(sys.argv[2])
    with calm_lapack(True):
        found = measure(Task(task), task)
    answer.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
