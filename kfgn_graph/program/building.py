"""Building of a spec's task, a network or the user's graph with its data, and of its step."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import kfgn_graph as kfgn
from kfgn_graph.errors import SpecError
from kfgn_graph.program.batches import check_batches
from kfgn_graph.program.datasets.dataset import bernoulli_floor
from kfgn_graph.program.labels import labels_of, note_on_gaps
from kfgn_graph.program.naming import NETWORK
from kfgn_graph.program.networks import perceptron
from kfgn_graph.program.representing import column_text, first_lost
from kfgn_graph.program.rules import compile_first_order
from kfgn_graph.program.sources import Source, load_source
from kfgn_graph.program.spec.models import DampingSpec, GraphSpec, NetworkSpec, StepSpec
from kfgn_graph.program.steps import PackageStep, Step
from kfgn_graph.program.task import Task
from kfgn_graph.program.user_graphs import fitted, load_graph

MOST_PARAMETERS = 2**31
MOST_ROWS = 2**31
CURVATURES = {"kfra": "KFRA", "kflr": "KFLR", "kfac": "KFAC", "hessianfree": "HessianFree"}


def build(spec: GraphSpec, folder: Path | None = None) -> Task:
    """Load the data of a spec, and build its network or call the user's function.

    Parameters
    ----------
    spec : GraphSpec
        The spec.
    folder : Path, optional
        Base folder of relative data files and of the user's modules, usually the folder of the
        spec's file; by default the working folder.

    Raises
    ------
    SpecError
        Network, loss and data are inconsistent, or the user's function cannot be used.
    DataError
        The data are not found or damaged.
    """
    folder = Path.cwd() if folder is None else folder
    if spec.batch * spec.method.samples > MOST_ROWS:
        raise SpecError(
            f"method.samples: found {spec.method.samples:,} for each of {spec.batch:,} examples, "
            f"together more than {MOST_ROWS:,}."
        )
    if spec.batch < 2 and not spec.method.first_order:
        raise SpecError(
            f"batch: found {spec.batch}, but {spec.method.name} needs at least two examples in "
            "each update, since the curvature of one says nothing of an expectation. Set batch "
            "to 2 or more, or choose a first-order method."
        )
    task = _built(spec, folder) if spec.network is not None else _users(spec, folder)
    count = len(task.arrays[0])
    if spec.batch > count:
        given = "" if "batch" in spec.model_fields_set else " (the default)"
        raise SpecError(
            f"batch: found {spec.batch}{given}, but there are {count} examples to train on. "
            + _remedy(spec, count)
        )
    return task


def _remedy(spec: GraphSpec, count: int) -> str:
    if count < 2 and not spec.method.first_order:
        return f"Give more data: {spec.method.name} needs at least two examples in each update."
    return f"Set batch to {count} or less."


def compile_step(task: Task) -> Step:
    """Build the step that trains a task's parameters by the spec's method, and check the data.

    Raises
    ------
    SpecError
        A batch of the data does not fit, for example because a label is out of range.
    KfgnError
        An error of :func:`kfgn_graph.compile_update`, or a BackendError if a package is missing.
    """
    step = _first_order(task) if task.spec.method.first_order else _second_order(task)
    check_batches(task, step.update)
    return step


def _first_order(task: Task) -> Step:
    spec, method = task.spec, task.spec.method
    return compile_first_order(
        task.loss,
        task.parameters,
        task.inputs,
        method.name,  # type: ignore[arg-type]
        method.rate,
        halve_every=method.halve_every,
        l2=spec.l2,
        backend=spec.backend,
    )


def _second_order(task: Task) -> Step:
    spec = task.spec
    update = kfgn.compile_update(
        task.loss,
        list(task.parameters),
        list(task.inputs),
        output=task.output,
        method=_curvature(spec),
        damping=_damping(spec.damping),
        step=_step(spec.step),
        l2=spec.l2,
        **spec.schedule.model_dump(),
        backend=spec.backend,
        seed=spec.seed,
        unmatched=spec.unmatched,
    )
    return PackageStep(update, spec.schedule.average_iterates)


def _curvature(spec: GraphSpec) -> kfgn.KFRA | kfgn.KFLR | kfgn.KFAC | kfgn.HessianFree:
    settings = {"samples": spec.method.samples} if spec.method.name == "kfac" else {}
    method: kfgn.KFRA = getattr(kfgn, CURVATURES[spec.method.name])(**settings)
    return method


def _damping(damping: DampingSpec) -> kfgn.ConstantDamping | kfgn.LevenbergMarquardt:
    search: dict[str, Any] = {
        "gamma": damping.gamma,
        "gamma_every": damping.gamma_every,
        "gamma_minimum": damping.gamma_minimum,
        "gamma_maximum": np.inf if damping.gamma_maximum is None else damping.gamma_maximum,
    }
    if damping.rule == "constant":
        return kfgn.ConstantDamping(damping.value, **search)
    return kfgn.LevenbergMarquardt(
        initial=damping.initial,
        every=damping.every,
        minimum_ratio=damping.minimum_ratio,
        minimum=damping.minimum,
        **search,
    )


def _step(step: StepSpec) -> float | kfgn.Rescaling:
    if step.length is not None:
        return step.length
    kept = {} if step.reject else {"reject_below": None}
    return kfgn.Rescaling(
        momentum=step.momentum, groups=step.groups, examples=step.examples or None, **kept
    )


def _users(spec: GraphSpec, folder: Path) -> Task:
    loss, parameters, inputs, output = load_graph(str(spec.graph), folder, spec.seed)
    source = load_source(spec.data, folder, [variable.name for variable in inputs])
    arrays = fitted(source.arrays, inputs)
    scalings = source.scalings[: len(arrays)]
    return Task(
        spec, loss, parameters, inputs, None, arrays, 0.0, source.origin, scalings, output=output
    )


def _built(spec: GraphSpec, folder: Path) -> Task:
    assert spec.network is not None and spec.loss is not None
    numbers = (0, 1) if spec.loss == "squared" else (0,)
    source = load_source(spec.data, folder, NETWORK, numbers)
    examples = _matrix(source.arrays[0], spec.dtype, "the inputs")
    targets = _targets(spec, source)
    outputs = _outputs(examples if targets is None else targets)
    sizes = [examples.shape[1], *spec.network.hidden, outputs]
    _check_sizes(spec.network, sizes)
    network = perceptron(
        sizes,
        spec.loss,
        targets=targets is not None,
        **spec.network.model_dump(exclude={"hidden"}),
        seed=spec.seed,
        dtype=spec.dtype,
    )
    floor = 0.0
    if spec.loss == "bernoulli":
        floor = _checked_floor(examples if targets is None else targets)
    return Task(
        spec,
        network.loss,
        network.parameters,
        network.inputs,
        network.reconstruction,
        (examples,) if targets is None else (examples, targets),
        floor,
        source.origin,
        source.scalings[: 1 if targets is None else 2],
        note_on_gaps(targets) if targets is not None and spec.loss == "softmax" else None,
    )


def _targets(spec: GraphSpec, source: Source) -> np.ndarray | None:
    """Return the targets in the dtype of the loss; None if the examples are the targets."""
    given = source.arrays[1] if len(source.arrays) > 1 else None
    if len(source.arrays) > 2:
        raise SpecError(
            f"data.arrays: found {len(source.arrays)} arrays; a network takes examples and "
            "targets. Name one array or two."
        )
    if spec.loss == "softmax":
        return labels_of(given, source.origin)
    if source.classes:
        raise SpecError(
            f"data.target: {spec.data.target!r} has the classes {', '.join(source.classes[:10])}"
            f'{", ..." if len(source.classes) > 10 else ""}, which need loss = "softmax".'
        )
    if spec.data.name is not None and (
        spec.loss == "bernoulli" or given is None or given.dtype.kind != "f"
    ):
        return None
    return None if given is None else _matrix(given, spec.dtype, "the targets")


def _outputs(targets: np.ndarray) -> int:
    return int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]


def _matrix(array: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """Return an array as a finite matrix with an example in each row."""
    given = array.reshape(len(array), -1)
    with np.errstate(over="ignore", under="ignore"):
        matrix = given.astype(dtype, copy=False)
    if not np.isfinite(matrix).all():
        raise SpecError(f'data: some numbers are too large for {dtype}; use dtype = "float64".')
    if (lost := first_lost(given, dtype)) is not None:
        raise SpecError(
            f"data: the numbers in {column_text(lost, name)} are too small for {dtype}, which has "
            "zero in their place. Choose another unit, or set data.standardise"
            f"{'' if dtype == 'float64' else ' or dtype = "float64"'}."
        )
    return matrix


def _check_sizes(network: NetworkSpec, sizes: list[int]) -> None:
    if network.tied and sizes[0] != sizes[-1]:
        raise SpecError(
            f"network.tied: input and output must have the same width; the data give "
            f"{sizes[0]} and {sizes[-1]}."
        )
    count = sum(a * b for a, b in pairwise(sizes))
    if count > MOST_PARAMETERS:
        raise SpecError(f"network.hidden: {count:,} weights, more than {MOST_PARAMETERS:,}.")


def _checked_floor(targets: np.ndarray) -> float:
    least, greatest = float(targets.min()), float(targets.max())
    if least < 0 or greatest > 1:
        raise SpecError(
            f'loss: "bernoulli" needs targets in [0, 1]; the data have {least:.6g} to '
            f'{greatest:.6g}. Leave out data.standardise, scale the data, or use "squared".'
        )
    return bernoulli_floor(targets)
