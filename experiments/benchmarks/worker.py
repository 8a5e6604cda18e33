"""The process that measures one of our own updates: ``worker.py TASK ANSWER``, npz and JSON."""

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import pytensor
import pytensor.tensor as pt

from experiments.backends import backend_mode
from experiments.benchmarks.nets import Net
from experiments.benchmarks.systems import FIRST
from experiments.optimisers import FirstOrder, GaussNewton, Optimiser, Step
from experiments.peers.alternation import Task, serve

PACKAGES = ("pytensor", "numpy", "scipy")


def make_step(task: Task) -> Callable[..., float]:
    """Return the update of the task's settings on its network."""
    settings = task.settings
    net = Net(
        settings["name"],
        tuple(settings["sizes"]),
        settings["activation"],
        settings["loss"],
        settings["batch"],
    )
    step = optimiser(settings).compile(net.network(), settings["backend"])
    leaping = leap(step, settings["warmup"]) if settings["period"] > 1 else step
    return (lambda x, _: leaping(x)) if net.reconstructs else leaping


def leap(step: Step, update: int) -> Callable[..., float]:
    """Let an update of the given number be the last of the first, which do everything.

    From then on the step is tested where the damping adapts, unless the model fails.
    """
    numbers = count(1)

    def call(*batch: np.ndarray) -> float:
        if next(numbers) == update:
            state = step.update.state() | {"count": np.int32(FIRST - 1)}
            step.update.load_state(state | ({"watch": np.int32(1)} if "watch" in state else {}))
        return step(*batch)

    return call


def optimiser(settings: dict[str, object]) -> Optimiser:
    """Return the method of a task's settings; what adapts is left to the package."""
    if settings["method"] == "adam":
        return FirstOrder("adam")
    adapts = settings["adaptive"]
    return GaussNewton(
        settings["method"],  # type: ignore[arg-type]
        damping=None if adapts else settings["damping"],  # type: ignore[arg-type]
        step=None if adapts else settings["step"],  # type: ignore[arg-type]
        factors_every=settings["factors_every"],  # type: ignore[arg-type]
        refresh_every=settings["refresh_every"],  # type: ignore[arg-type]
    )


def backend_product(
    backend: str,
) -> Callable[[np.ndarray, np.ndarray], Callable[[], object]]:
    """Return what makes the backend's own product, its operands where the backend keeps them."""
    if backend == "jax":
        from experiments.peers.jax_nets import make_product

        return make_product

    def make(left: np.ndarray, right: np.ndarray) -> Callable[[], object]:
        shared = pytensor.shared(left), pytensor.shared(right)
        return pytensor.function([], pt.dot(*shared), mode=backend_mode(backend))  # type: ignore[arg-type]

    return make


def main() -> None:
    """Measure the task of the command line."""
    backend = Task(sys.argv[1]).settings["backend"]
    also = {"jax": ("jax",), "numba": ("numba",)}.get(backend, ())
    serve(make_step, backend_product(backend), (*PACKAGES, *also))


if __name__ == "__main__":
    main()
