"""One compiled function that trains: :func:`compile_update`."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.executor import Function
from pytensor.compile.mode import Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.type import TensorType
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.backends import Backend, resolve_backend
from kfgn_graph.batches import check_batch, check_batches, check_inputs
from kfgn_graph.checkpoint import read_state, save_state
from kfgn_graph.damping import Damping, LevenbergMarquardt
from kfgn_graph.errors import CheckpointError, SpecError
from kfgn_graph.explaining import explain
from kfgn_graph.hessian_free import HessianFree
from kfgn_graph.inverses import Inverse
from kfgn_graph.layers.graph import LayerGraph, value_shape
from kfgn_graph.methods import KFRA, KroneckerMethod
from kfgn_graph.settings import Settings
from kfgn_graph.state import State, parameter_names
from kfgn_graph.stats import UpdateStats
from kfgn_graph.steps import Rescaling
from kfgn_graph.tracing import Source
from kfgn_graph.updates import STATISTICS, build_step


class Update:
    """A compiled training step; made by :func:`compile_update`.

    Calling it with a batch, one array per input variable, updates the parameters in place
    and returns :class:`UpdateStats`. It is compiled at the first call; where the backend
    needs the number of examples, once for each number.

    Attributes
    ----------
    graph : LayerGraph
        What was recognised.
    backend : str
        The backend in use.
    """

    def __init__(
        self,
        loss: TensorVariable,
        params: Sequence[TensorSharedVariable],
        inputs: Sequence[Variable],
        output: TensorVariable | None,
        unmatched: str,
        settings: Settings,
        backend: Backend,
    ) -> None:
        self._source = Source(loss, params, output, unmatched)
        self.graph: LayerGraph = self._source.graph()
        check_inputs(loss, inputs)
        self._inputs = tuple(inputs)
        self._settings = settings
        self._backend = backend
        self._state = State(self.graph, settings)
        self._functions: dict[tuple[Any, ...], Function] = {}
        build_step(self._source, self.graph, settings, self._state)

    @property
    def backend(self) -> str:
        """The name of the backend in use."""
        return self._backend.name

    @property
    def mode(self) -> Mode:
        """The PyTensor mode of the backend, for other functions of the trained parameters.

        After an update with JAX the parameters' values are JAX arrays, which functions of
        other modes do not take.
        """
        return self._backend.mode()

    def __call__(self, *batch: Any) -> UpdateStats:
        """Take one step on a batch.

        Parameters
        ----------
        *batch : arrays
            One for each input variable, examples along the leading axis.

        Raises
        ------
        BatchError
            If the batch does not fit the inputs; nothing is changed.
        """
        arrays = check_batch(self._inputs, batch)
        placed = self._backend.place(arrays)
        function = self.function_for(arrays)
        values = function(*placed)
        return UpdateStats(dict(zip(STATISTICS, values, strict=True)))

    def many(self, data: Sequence[Any], batches: Any) -> UpdateStats:
        """Take one step for each batch, drawn from data by index.

        With JAX the steps are one compiled loop over data that stay on the device: for small
        networks, whose steps take no longer than the calls. It is compiled once for each
        number of batches.

        Parameters
        ----------
        data : sequence of arrays
            One for each input variable, as of one great batch.
        batches : (T, B) array of integers
            Rows of the data that make up each of T batches.

        Returns
        -------
        UpdateStats
            Each statistic an array of shape (T,).

        Raises
        ------
        BatchError
            If the data do not fit the inputs, or the batches the data; nothing is changed.
        """
        rows = check_batches(batches, data)
        placed = [a if hasattr(a, "dtype") else np.asarray(a) for a in data]
        first = check_batch(self._inputs, [a[rows[0]] if a.ndim else a for a in placed])
        whole = [a.astype(b.dtype, copy=False) for a, b in zip(placed, first, strict=True)]
        values = self._backend.many(self.function_for(first), whole, rows)
        return UpdateStats(dict(zip(STATISTICS, values, strict=True)))

    def function_for(self, batch: Sequence[Any]) -> Function:
        """Return the PyTensor function that serves batches of this size, compiling it if need be.

        Parameters
        ----------
        batch : sequence of arrays
            A batch as the update is called with.
        """
        key = tuple(a.shape for a in batch) if self._backend.static_batch else ()
        if key not in self._functions:
            with uncollected():
                self._functions[key] = self._compile(batch)
            self._backend.place_state(self._persistent().values())
        return self._functions[key]

    def _compile(self, batch: Sequence[Any]) -> Function:
        """Compile over variables with static shapes, which share the user's own values."""
        static_inputs = {
            v: self._static_input(v, a) for v, a in zip(self._inputs, batch, strict=True)
        }
        static_params = {p: static_alias(p) for p in self.graph.parameters}
        source = self._source.replaced(static_inputs | static_params)
        step = build_step(source, source.graph(), self._settings, self._state)
        function = pytensor.function(
            list(static_inputs.values()),
            [step.statistics[name] for name in STATISTICS],
            updates=step.updates,
            mode=self._backend.mode(),
            on_unused_input="ignore",
            name="kfgn_update",
        )
        function.trust_input = True
        return function

    def _static_input(self, variable: Variable, array: Any) -> Variable:
        shape = array.shape
        if not self._backend.static_batch:
            shape = (variable.type.shape[:1] + shape[1:]) if shape else shape
        return TensorType(variable.type.dtype, shape)(name=variable.name)

    def _persistent(self) -> dict[str, SharedVariable]:
        names = [f"parameters/{name}" for name in parameter_names(self.graph)]
        return dict(zip(names, self.graph.parameters, strict=True)) | self._state.variables

    def averaged(self) -> dict[str, np.ndarray]:
        """Return copies of the parameters' averages over the updates so far.

        Returns
        -------
        dict
            NumPy arrays by the parameters' names.

        Raises
        ------
        SpecError
            If the update was compiled without ``average_iterates=True``.
        """
        averages = self._state.vector("averages")
        if not averages:
            raise SpecError("no averages are kept: compile the update with average_iterates=True.")
        values = [np.array(v.get_value(borrow=True)) for v in averages]
        return dict(zip(parameter_names(self.graph), values, strict=True))

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of everything that persists: parameters, factors, counters.

        Returns
        -------
        dict
            NumPy arrays by name: ``parameters/<name>``, ``factors/<layer>/Q`` and so on.
        """
        return {name: np.array(v.get_value(borrow=True)) for name, v in self._persistent().items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what :meth:`state` returned.

        Raises
        ------
        CheckpointError
            If names, shapes or dtypes do not fit this update; nothing is changed.
        """
        own = self._persistent()
        if set(state) != set(own):
            raise CheckpointError(
                f"the state does not fit: missing {sorted(set(own) - set(state))}, unknown "
                f"{sorted(set(state) - set(own))}. It must be of the same network and settings."
            )
        for name, v in own.items():
            there, here = np.asarray(state[name]), np.asarray(v.get_value(borrow=True))
            if there.shape != here.shape or there.dtype != here.dtype:
                raise CheckpointError(
                    f"the state does not fit: {name} is {there.dtype} {there.shape}, but "
                    f"{here.dtype} {here.shape} is wanted."
                )
        for name, v in own.items():
            v.set_value(np.array(state[name]), borrow=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`state` to a safetensors file, atomically."""
        save_state(self.state(), path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Restore what :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the file cannot be read or does not fit; nothing is changed.
        """
        self.load_state(read_state(path))

    def explain(self) -> str:
        """Return a table of the layers: their factors, shapes, flops and memory."""
        return explain(self.graph, self._settings, self._backend.name)


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the cyclic garbage collector, which takes a fifth of the time that rewriting takes.

    Rewriting makes millions of small objects; those that die are freed without it, but for few.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def static_alias(parameter: TensorSharedVariable) -> TensorSharedVariable:
    """Return a variable that shares the parameter's value, with the value's shape in its type."""
    alias_type = TensorType(parameter.type.dtype, value_shape(parameter))
    return TensorSharedVariable(
        type=alias_type,
        value=None,
        strict=None,
        container=parameter.container,
        name=parameter.name,
    )


def compile_update(
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    inputs: Sequence[Variable],
    *,
    method: KroneckerMethod | HessianFree = KFRA(),
    damping: Damping = LevenbergMarquardt(),
    step: float | Rescaling = Rescaling(),
    output: TensorVariable | None = None,
    l2: float = 0.0,
    curvature_decay: float = 0.8,
    factors_every: int = 5,
    refresh_every: int = 10,
    inverse: str | Inverse = "cholesky",
    average_iterates: bool = False,
    backend: str = "auto",
    seed: int = 0,
    devices: int | None = None,
    unmatched: str = "error",
) -> Update:
    """Compile one function that trains a loss by a practical Gauss-Newton method.

    Parameters
    ----------
    loss : scalar TensorVariable
        Sum or mean over a batch of terms that each read one example, plus penalties on
        parameters alone.
    params : sequence of shared variables
        The parameters to train. Their values are updated in place.
    inputs : sequence of variables
        What a batch consists of, examples along the leading axis.
    method : KFRA, KFLR, KFAC or HessianFree
        The curvature.
    damping : LevenbergMarquardt or ConstantDamping
        What is added to the curvature before it is inverted, and how it adapts.
    step : Rescaling or float
        How far to go along the preconditioned gradient: as the exact quadratic model says,
        or always the same.
    output : TensorVariable, optional
        Where the loss is split from the network; found by itself where it can be.
    l2 : float
        eta of an added (eta / 2) ||theta||^2, biases included: in gradient and curvature.
    curvature_decay : float
        Weight of the old factors in their moving average; 0 keeps none.
    factors_every : int
        How many updates apart the factors are estimated anew; the first fifty updates always
        do.
    refresh_every : int
        How many updates apart the factors' inverses are computed anew; the first fifty updates
        always do.
    inverse : {'cholesky', 'newton-schulz', 'eigh', 'exact', 'ekfac'} or strategy
        How the damped blocks are inverted: through Cholesky factors, by products alone, in
        the factors' eigenbasis, there with exact instead of factored damping, or there with
        the block's own eigenvalues (EKFAC; for KFLR and KFAC).
    average_iterates : bool
        Keep an average of the parameters over the updates, for :meth:`Update.averaged`.
    backend : {'auto', 'jax', 'numba', 'c'}
        What to compile with; ``auto`` takes JAX where it is installed, else Numba.
    seed : int
        Of KFAC's draws.
    devices : int, optional
        With JAX: over how many devices each batch is divided. By default one, undivided.
    unmatched : {'error', 'gradient', 'freeze'}
        See :func:`trace_layers`.

    Returns
    -------
    Update
        A callable: ``stats = update(x_batch, y_batch)``.

    Raises
    ------
    KfgnError
        ParameterError, UnmatchedParameterError, NotABatchLossError, CurvatureRuleNotFound
        for what cannot be read; BatchError for incomplete inputs; SpecError for a setting
        that is not allowed; BackendError for a backend that cannot be used.
    """
    settings = Settings(
        method,
        damping,
        step,
        l2,
        curvature_decay,
        factors_every,
        refresh_every,
        inverse,
        average_iterates,
        seed,
    )
    chosen = resolve_backend(backend, devices)
    with uncollected():
        return Update(loss, params, inputs, output, unmatched, settings, chosen)
