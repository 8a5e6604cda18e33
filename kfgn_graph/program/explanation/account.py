"""The account of an update: its layers, its parts, its memory and its predicted time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import kfgn_graph as kfgn
from kfgn_graph.errors import KfgnError
from kfgn_graph.program.explanation.formulas import used_for_inputs, used_for_outputs
from kfgn_graph.program.explanation.layers import LayerShape, layer_shapes, output_width
from kfgn_graph.program.explanation.memory import kept_by_layer, kept_in_all, traffic
from kfgn_graph.program.explanation.operations import Counter, Part
from kfgn_graph.program.explanation.rates import Clock, Rates, measure_rates
from kfgn_graph.program.explanation.timing import Timing
from kfgn_graph.program.rules import backend_mode, resolve_backend
from kfgn_graph.program.steps import Step
from kfgn_graph.program.task import Task


@dataclass(frozen=True)
class Account:
    """The layers of an update, the operations of its parts, and its memory.

    Attributes
    ----------
    method, backend, dtype : str
        The names of the method, of the backend and of the dtype of the loss.
    loss : str
        The recognised loss, and the variable at which it is split from the network.
    batch : int
        The number of examples per update.
    layers : sequence of LayerShape
        In forward order.
    kept : sequence of int
        The bytes that persist between updates, for each layer.
    kept_in_all : int
        The bytes of the whole state, including counters.
    outside : dict
        The reason for each parameter that belongs to no layer, by the name of the parameter.
    parts : sequence of Part
        The parts of an update.
    """

    method: str
    backend: str
    dtype: str
    loss: str
    batch: int
    layers: Sequence[LayerShape]
    kept: Sequence[int]
    kept_in_all: int
    outside: dict[str, str]
    parts: Sequence[Part]

    @property
    def operations(self) -> float:
        """The floating-point operations of an update."""
        return sum(part.amount for part in self.parts if part.kind != "memory")

    def predicted(self, rates: Rates) -> float:
        """Return the seconds of an update if every part runs at the measured rate of its kind."""
        return sum(rates.seconds(part) for part in self.parts)

    def as_dict(self, rates: Rates, timing: Timing | None) -> dict[str, Any]:
        """Return the account as a JSON-serialisable dictionary."""
        predicted = self.predicted(rates)
        return {
            "method": self.method,
            "backend": self.backend,
            "dtype": self.dtype,
            "loss": self.loss,
            "batch": self.batch,
            "layers": [self._layer(index) for index in range(len(self.layers))],
            "outside": self.outside,
            "parts": [
                {"name": p.name, "kind": p.kind, "amount": p.amount, "seconds": rates.seconds(p)}
                for p in self.parts
            ],
            "operations": self.operations,
            "kept_bytes": self.kept_in_all,
            "rates": asdict(rates),
            "predicted_seconds": predicted,
            "measured": None
            if timing is None
            else {**asdict(timing), "over_predicted": timing.seconds / predicted},
        }

    def operations_of(self, index: int) -> float:
        """Return the floating-point operations of an update for one layer."""
        return sum(part.amounts[index] for part in self.parts if part.kind != "memory")

    def _layer(self, index: int) -> dict[str, Any]:
        layer, factored = self.layers[index], bool(used_for_inputs(self.method))
        return {
            **asdict(layer),
            "Q": [layer.q, layer.q] if factored else None,
            "G": [layer.g, layer.g] if factored else None,
            "equations": {
                "Q": used_for_inputs(self.method),
                "G": used_for_outputs(self.method, layer),
            },
            "operations": self.operations_of(index),
            "kept_bytes": self.kept[index],
        }


def account(task: Task, step: Step, graph: kfgn.LayerGraph | None) -> Account:
    """Return the account of a task's update.

    Parameters
    ----------
    task : Task
        The task to train.
    step : Step
        The compiled step of the task.
    graph : LayerGraph or None
        From :func:`recognised`.
    """
    spec, dtype = task.spec, str(task.loss.dtype)
    layers = [] if graph is None else layer_shapes(graph, task)
    columns = 0 if graph is None else output_width(graph, task)
    counter = Counter(spec, layers, columns)
    state = step.state()
    kept = kept_in_all(state)
    itemsize = task.loss.type.numpy_dtype.itemsize
    parts = [*counter.parts(), traffic(counter, kept, itemsize)] if layers else []
    return Account(
        spec.method.name,
        resolve_backend(spec.backend) if step.update is None else step.update.backend,
        dtype,
        _loss_line(task, step, graph),
        spec.batch,
        layers,
        kept_by_layer(state, counter, itemsize),
        kept,
        {} if graph is None else _outside(graph),
        parts,
    )


def _outside(graph: kfgn.LayerGraph) -> dict[str, str]:
    """Return the reason for each parameter that belongs to no layer."""
    diagonal = {
        str(each.weight): f"diagonal of the Gauss-Newton matrix, since {each.reason}"
        for each in graph.diagonal
    }
    return {str(p): why for p, why in graph.unmatched.items()} | diagonal


def recognised(task: Task, step: Step) -> tuple[kfgn.LayerGraph | None, str]:
    """Return the layers of a task's loss and an empty text, or None and the reason.

    Only a first-order rule can be compiled without recognised layers.

    Parameters
    ----------
    task : Task
        The task to train.
    step : Step
        The compiled step of the task.
    """
    if step.update is not None:
        return step.update.graph, ""
    try:
        return kfgn.trace_layers(task.loss, list(task.parameters)), ""
    except KfgnError as error:
        return None, str(error)


def rates_of(task: Task, step: Step, clock: Clock = time.perf_counter) -> Rates:
    """Measure the rates of this machine on the backend of a step, by a clock in seconds."""
    mode = backend_mode(task.spec.backend) if step.update is None else step.update.mode
    return measure_rates(task.spec, mode, str(task.loss.dtype), clock)


def _loss_line(task: Task, step: Step, graph: kfgn.LayerGraph | None) -> str:
    """Return the loss as the update recognised it, or as the spec names it."""
    if step.update is not None:
        lines = step.update.explain().splitlines()
        return next(line for line in lines if line.startswith("loss: ")).removeprefix("loss: ")
    if task.spec.loss is not None:
        return task.spec.loss
    return f"returned by {task.spec.graph}"
