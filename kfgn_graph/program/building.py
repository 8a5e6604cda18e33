"""Building of a spec's task, a network or the user's graph with its data, and of its step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

import kfgn_graph as kfgn
from kfgn_graph.errors import SpecError
from kfgn_graph.program.datasets.dataset import bernoulli_floor
from kfgn_graph.program.naming import NETWORK
from kfgn_graph.program.networks import perceptron
from kfgn_graph.program.rules import compile_first_order
from kfgn_graph.program.scaling import Scaling
from kfgn_graph.program.sources import Source, load_source
from kfgn_graph.program.spec.models import DampingSpec, GraphSpec, NetworkSpec, StepSpec
from kfgn_graph.program.steps import PackageStep, Step
from kfgn_graph.program.user_graphs import fitted, load_graph

MOST_PARAMETERS = 2**31
MOST_ROWS = 2**31
CURVATURES = {"kfra": "KFRA", "kflr": "KFLR", "kfac": "KFAC", "hessianfree": "HessianFree"}


@dataclass(frozen=True)
class Task:
    """The loss, the parameters and the data of a training run.

    Attributes
    ----------
    spec : GraphSpec
        The spec from which the task was built.
    loss : scalar variable
        The loss of a batch. For networks that the program builds it is the mean over the batch.
    parameters : tuple of shared variables
        The parameters, which training updates in place.
    inputs : tuple of variables
        The variables of a batch.
    prediction : variable, (N, K), or None
        The reconstruction, probabilities or output of a network that the program builds; None for
        a user's graph.
    arrays : tuple of ndarray
        The training data in the order of ``inputs``, with one example per row.
    floor : float
        Lower bound of the loss: the entropy of the targets for the Bernoulli loss, otherwise 0.
    source : str
        Origin of the data.
    scalings : tuple of Scaling or None
        Mean and deviation with which each of ``arrays`` was standardised; None for an array that
        was not.
    output : variable or None
        The variable at which the loss is split from the network, where a user's function returns
        it; None if it is found.
    """

    spec: GraphSpec
    loss: TensorVariable
    parameters: tuple[SharedVariable, ...]
    inputs: tuple[TensorVariable, ...]
    prediction: TensorVariable | None
    arrays: tuple[np.ndarray, ...]
    floor: float
    source: str
    scalings: tuple[Scaling | None, ...] = ()
    output: TensorVariable | None = None


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
    task = _built(spec, folder) if spec.network is not None else _users(spec, folder)
    count = len(task.arrays[0])
    if spec.batch > count:
        given = "" if "batch" in spec.model_fields_set else " (the default)"
        raise SpecError(
            f"batch: found {spec.batch}{given}, but there are {count} examples to train on. Set "
            f"batch to {count} or less."
        )
    return task


def compile_step(task: Task) -> Step:
    """Compile the step that trains a task's parameters by the spec's method.

    Raises
    ------
    KfgnError
        An error of :func:`kfgn_graph.compile_update`, or a BackendError if a package is missing.
    """
    spec, method = task.spec, task.spec.method
    if method.first_order:
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
    return Task(spec, loss, parameters, inputs, None, arrays, 0.0, source.origin, scalings, output)


def _built(spec: GraphSpec, folder: Path) -> Task:
    assert spec.network is not None and spec.loss is not None
    source = load_source(spec.data, folder, NETWORK)
    examples = _matrix(source.arrays[0], spec.dtype)
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
        return _labels(given, source.origin)
    if spec.data.name is not None and (
        spec.loss == "bernoulli" or given is None or given.dtype.kind != "f"
    ):
        return None
    return None if given is None else _matrix(given, spec.dtype)


def _labels(given: np.ndarray | None, origin: str) -> np.ndarray:
    if given is None or given.ndim != 1 or given.dtype.kind not in "iu":
        found = "none" if given is None else f"{given.dtype} of shape {given.shape}"
        raise SpecError(
            f'loss: "softmax" needs labels, a vector of whole numbers; found {found} in {origin}.'
        )
    labels = given.astype(np.int64)
    if labels.min() < 0 or labels.max() < 1 or labels.max() >= len(labels):
        raise SpecError(
            f"data: labels must count classes from 0; found {labels.min()} to {labels.max()} "
            f"in {len(labels)} examples."
        )
    return labels


def _outputs(targets: np.ndarray) -> int:
    return int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]


def _matrix(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array as a finite matrix with an example in each row."""
    with np.errstate(over="ignore"):
        matrix = array.reshape(len(array), -1).astype(dtype, copy=False)
    if not np.isfinite(matrix).all():
        raise SpecError(f'data: some numbers are too large for {dtype}; use dtype = "float64".')
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
