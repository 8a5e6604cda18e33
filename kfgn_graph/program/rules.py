"""First-order rules of pytensor-ml, compiled."""

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode, get_mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import BackendError
from kfgn_graph.program.steps import RuleStep, own_shape_checks

Backend = Literal["auto", "jax", "numba", "c"]
Rule = Literal["sgd", "momentum", "nesterov", "adam"]
MODES = {"jax": "JAX", "numba": "NUMBA", "c": "CVM"}
MOMENTUM = 0.9


def compile_rule(
    rule: Rule,
    rate: float,
    halve_every: int | None,
    loss: TensorVariable,
    parameters: Sequence[SharedVariable],
    inputs: Sequence[TensorVariable],
    backend: Backend = "auto",
    l2: float = 0.0,
) -> RuleStep:
    """Compile a step of a first-order rule of pytensor-ml.

    Parameters
    ----------
    rule : {"sgd", "momentum", "nesterov", "adam"}
        Gradient descent without momentum, with momentum 0.9 or with Nesterov momentum 0.9; or
        Adam.
    rate : float
        Learning rate.
    halve_every : int or None
        Number of updates between halvings of the rate; None keeps it constant.
    loss : scalar variable
        The loss to minimise.
    parameters : sequence of shared variables
        The parameters, which the step updates in place.
    inputs : sequence of variables
        The variables of a batch.
    backend : {"auto", "jax", "numba", "c"}
        The backend that compiles the step.
    l2 : float
        Coefficient eta of the penalty (eta / 2) ||theta||^2. The step minimises the sum of loss
        and penalty, and returns the loss alone.

    Raises
    ------
    BackendError
        pytensor-ml or the backend is not installed.
    """
    transform = _transform(rule, rate, halve_every)
    from pytensor_ml.optim import compile_train

    mode = backend_mode(backend)
    trained = loss
    if l2:
        half = np.asarray(l2 / 2, loss.dtype)
        trained = loss + half * sum(pt.sum(p * p) for p in parameters)
    with pytensor.config.change_flags(floatX=loss.dtype), own_shape_checks():
        function = compile_train(
            trained,
            transform,
            parameters=list(parameters),
            inputs=list(inputs),
            extra_outputs=[loss] if l2 else None,
            compile_kwargs={"mode": mode},
        )
    return RuleStep(function, parameters, loss_output=1 if l2 else None)


def _transform(rule: Rule, rate: float, halve_every: int | None) -> Any:
    try:
        from pytensor_ml.optim import adam, sgd, step_decay
    except ImportError as error:
        raise BackendError(
            f'the rule "{rule}" needs pytensor-ml, which cannot be imported ({error}): '
            'pip install "kfgn_graph[experiments]".'
        ) from error
    schedule: Any = rate
    if halve_every is not None:
        schedule = step_decay(rate, decay_every=halve_every, decay_factor=0.5)
    if rule == "adam":
        return adam(schedule)
    return sgd(schedule, momentum=0.0 if rule == "sgd" else MOMENTUM, nesterov=rule == "nesterov")


def resolve_backend(backend: Backend) -> Literal["jax", "numba", "c"]:
    """Return the backend that a name selects: ``"auto"`` is JAX if installed, otherwise Numba."""
    if backend == "auto":
        return "jax" if importlib.util.find_spec("jax") else "numba"
    return backend


def backend_mode(backend: Backend) -> Mode:
    """Return the PyTensor mode of a backend, for functions other than the package's updates.

    PyTensor sets the precision of JAX from ``floatX`` when its JAX linker is first imported. This
    function imports it at once, so that the import cannot happen while ``floatX`` is changed.

    Raises
    ------
    BackendError
        The backend is not installed.
    """
    name = resolve_backend(backend)
    try:
        if name != "c":
            importlib.import_module(f"pytensor.link.{name}.dispatch")
    except ImportError as error:
        raise BackendError(
            f'the backend "{name}" cannot be imported ({error}): pip install '
            f"{'"kfgn_graph[jax]"' if name == 'jax' else name}, or choose another."
        ) from error
    return get_mode(MODES[name])
