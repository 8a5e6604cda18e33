"""First-order rules of pytensor-ml, compiled."""

import importlib
import importlib.util
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode, get_mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.replace import clone_replace
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import BackendError, ParameterError, SpecError
from kfgn_graph.program.steps import RuleStep, own_shape_checks

Backend = Literal["auto", "jax", "numba", "c"]
Rule = Literal["sgd", "momentum", "nesterov", "adam"]
MODES = {"jax": "JAX", "numba": "NUMBA", "c": "CVM"}
#: The compiler's tag for JAX modes whose sums have the dtype of their result.
OWN_DTYPE = "kfgn_accumulate_in_own_dtype"
MOMENTUM = 0.9


def compile_first_order(
    loss: TensorVariable,
    parameters: Sequence[SharedVariable],
    inputs: Sequence[TensorVariable],
    rule: Rule = "adam",
    rate: float = 1e-3,
    *,
    halve_every: int | None = None,
    l2: float = 0.0,
    backend: Backend = "auto",
) -> RuleStep:
    r"""Compile an update by a first-order rule, the counterpart of :func:`compile_update`.

    The rules are those of pytensor-ml: gradient descent, alone, with momentum 0.9 or with
    Nesterov's momentum 0.9; and Adam with its default decays.

    Parameters
    ----------
    loss : scalar variable
        The loss to minimise.
    parameters : sequence of shared variables
        The parameters, trained in place.
    inputs : sequence of variables
        The arguments of the update, as of :func:`compile_update`.
    rule : {"adam", "sgd", "momentum", "nesterov"}
        The rule.
    rate : float
        Learning rate of the first updates.
    halve_every : int, optional
        Number of updates after which the rate is halved, again and again; by default the rate
        is constant.
    l2 : float
        :math:`\eta` of :math:`\tfrac{\eta}{2} \|\theta\|^2`, which is added to the loss that is
        minimised and not to the loss that is returned.
    backend : {"auto", "jax", "numba", "c"}
        The backend that compiles the update; ``"auto"`` is JAX where it is installed, else Numba.

    Returns
    -------
    callable
        Takes the arrays of a batch in the order of ``inputs``, updates the parameters and returns
        the loss of the batch before the update, a float. Its ``state()`` returns copies of all
        arrays that persist from one update to the next, by name; ``load_state(state)`` restores
        them.

    Raises
    ------
    SpecError
        No such rule, or a rate, a period or ``l2`` that is out of range.
    ParameterError
        A rule that keeps state, all but ``"sgd"``, and a parameter without a name of its own, by
        which pytensor-ml stores that state.
    BackendError
        pytensor-ml, or the backend, is not installed.

    Examples
    --------
    >>> adam = kfgn_graph.compile_first_order(
    ...     loss, parameters, [x, y], rate=1e-3
    ... )  # doctest: +SKIP
    >>> adam(x_batch, y_batch)  # doctest: +SKIP
    0.693
    """
    _check_rule(rule, rate, halve_every, l2)
    if rule != "sgd":
        _check_names(parameters)
    transform = _transform(rule, rate, halve_every)
    from pytensor_ml.optim import compile_train

    mode = backend_mode(backend)
    loss = clone_replace(loss)  # pytensor-ml rewrites the graph that it compiles
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


def _check_rule(rule: Rule, rate: float, halve_every: int | None, l2: float) -> None:
    if rule not in get_args(Rule):
        raise SpecError(f"rule: found {rule!r}; allowed: {', '.join(get_args(Rule))}.")
    if not 0 < rate < math.inf:
        raise SpecError(f"rate: found {rate}; it must be positive and finite.")
    if halve_every is not None and halve_every < 1:
        raise SpecError(f"halve_every: found {halve_every}; it must be at least 1, or None.")
    if not 0 <= l2 < math.inf:
        raise SpecError(f"l2: found {l2}; it must be at least 0 and finite.")


def _check_names(parameters: Sequence[SharedVariable]) -> None:
    for name, count in Counter(parameter.name for parameter in parameters).items():
        if name is None or count > 1:
            fault = "no name" if name is None else f"the name {name!r} of another"
            raise ParameterError(
                f"a parameter has {fault}, and the rule keeps its state by names: "
                "give each parameter a name of its own, as pytensor.shared(value, name=...)."
            )


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

    On JAX sums are accumulated in the dtype of their result: PyTensor's own reductions would turn
    float32 parameters into float64.

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
    mode = get_mode(MODES[name])
    return mode.including(OWN_DTYPE) if name == "jax" else mode
