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
    """Compile a step of plain gradient descent, with momentum 0.9, with Nesterov's, or of Adam.

    Parameters
    ----------
    rule : {"sgd", "momentum", "nesterov", "adam"}
        Which.
    rate : float
        Learning rate.
    halve_every : int or None
        Updates after which the rate is halved, again and again.
    loss : scalar variable
        What to train.
    parameters : sequence of shared variables
        Trained in place.
    inputs : sequence of variables
        What a batch consists of.
    backend : {"auto", "jax", "numba", "c"}
        What compiles.
    l2 : float
        eta of (eta / 2) ||theta||^2, added to what is trained, not to the loss that is returned.

    Raises
    ------
    BackendError
        pytensor-ml, or the backend, is not installed.
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
            f'the rule "{rule}" is from pytensor-ml, which cannot be imported ({error}): '
            'pip install "kfgn_graph[experiments]".'
        ) from error
    schedule: Any = rate
    if halve_every is not None:
        schedule = step_decay(rate, decay_every=halve_every, decay_factor=0.5)
    if rule == "adam":
        return adam(schedule)
    return sgd(schedule, momentum=0.0 if rule == "sgd" else MOMENTUM, nesterov=rule == "nesterov")


def resolve_backend(backend: Backend) -> Literal["jax", "numba", "c"]:
    """Return the backend that ``"auto"`` stands for: JAX when it is installed, else Numba."""
    if backend == "auto":
        return "jax" if importlib.util.find_spec("jax") else "numba"
    return backend


def backend_mode(backend: Backend) -> Mode:
    """Return the PyTensor mode of a backend, for functions that are no update of ours.

    PyTensor sets JAX's precision by ``floatX`` when its JAX part is first imported, which must
    therefore not happen while ``floatX`` is changed.

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
