"""One training step, symbolically: gradient, curvature, solve, and every new value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.conditional.op import ifelse
from pytensor.gradient import grad
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.averaging import average_weight, moving_average
from kfgn_graph.damping import ConstantDamping, Damping, factored_gamma
from kfgn_graph.draws import Draws
from kfgn_graph.errors import SpecError
from kfgn_graph.kronecker import KroneckerFactors, damped, kronecker_solve, solve_symmetric
from kfgn_graph.layers.graph import Layer, LayerGraph, value_shape
from kfgn_graph.methods import KFRA, KroneckerMethod
from kfgn_graph.penalties import penalty_curvature
from kfgn_graph.tracing import trace_layers

#: What an update reports besides the loss, in order.
STATISTICS = (
    "loss",
    "damping",
    "gamma",
    "reduction_ratio",
    "step_scale",
    "gradient_norm",
    "update_norm",
    "skipped",
)
INVERSES = ("cholesky",)

#: One expression for each shared variable.
Values = dict[SharedVariable, TensorVariable]


@dataclass(frozen=True)
class Settings:
    """How to step: the arguments that :func:`compile_update` and :func:`kfgn_updates` share."""

    method: KroneckerMethod = field(default_factory=KFRA)
    damping: Damping = field(default_factory=ConstantDamping)
    step: float = 1.0
    l2: float = 0.0
    curvature_decay: float = 0.95
    refresh_every: int = 1
    inverse: str = "cholesky"
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.method, KroneckerMethod):
            raise SpecError(
                f"method={self.method!r} gives no Kronecker factors to step with: use KFRA(), "
                "KFLR() or KFAC(); the exact blocks are for curvature_factors."
            )
        if not isinstance(self.damping, Damping):
            raise SpecError(
                f"damping={self.damping!r} is not a damping rule such as ConstantDamping(1e-3)."
            )
        if not 0 <= self.curvature_decay < 1:
            raise SpecError(f"curvature_decay={self.curvature_decay} must be in [0, 1).")
        if not (isinstance(self.refresh_every, int) and self.refresh_every >= 1):
            raise SpecError(
                f"refresh_every={self.refresh_every} must be a whole number of at least 1."
            )
        if self.inverse not in INVERSES:
            raise SpecError(f"inverse={self.inverse!r} is not one of {INVERSES}.")
        if not (np.isfinite(self.l2) and self.l2 >= 0):
            raise SpecError(f"l2={self.l2} must be zero or a positive number.")
        if not np.isfinite(self.step):
            raise SpecError(f"step={self.step} must be a finite number.")


class State:
    """The named shared variables that persist between updates, apart from the parameters.

    Parameters
    ----------
    graph : LayerGraph
        Gives the layers and their current shapes.
    settings : Settings
        Decides what needs to be kept.
    """

    def __init__(self, graph: LayerGraph, settings: Settings) -> None:
        self.variables: dict[str, TensorSharedVariable] = {}
        dtype = graph.loss.type.dtype
        self.count = self._new("count", np.int32(0))
        self.draws = (
            self._new("draws", np.uint32(settings.seed)) if settings.method.random else None
        )
        for layer in graph.layers:
            for factor, size in zip("QG", factor_sizes(layer), strict=True):
                if settings.curvature_decay > 0:
                    self._new(f"factors/{layer.name}/{factor}", np.zeros((size, size), dtype))
                if settings.refresh_every > 1:
                    self._new(f"inverses/{layer.name}/{factor}", np.eye(size, dtype=dtype))

    def _new(self, name: str, value: np.ndarray | np.generic) -> TensorSharedVariable:
        self.variables[name] = pytensor.shared(np.asarray(value), name=name, shape=np.shape(value))
        return self.variables[name]

    def factors(self, kind: str, layer: Layer) -> KroneckerFactors | None:
        """Return the kept pair of a layer: ``kind`` is 'factors' or 'inverses'."""
        if f"{kind}/{layer.name}/Q" not in self.variables:
            return None
        return KroneckerFactors(*(self.variables[f"{kind}/{layer.name}/{f}"] for f in "QG"))


def factor_sizes(layer: Layer) -> tuple[int, int]:
    """Return the sizes of Q and G from the weight's current value."""
    shape = value_shape(layer.weight)
    d_in, d_out = (shape[1], shape[0]) if layer.transposed else (shape[0], int(np.prod(shape[1:])))
    return d_in + (layer.bias is not None), d_out


@dataclass(frozen=True)
class Step:
    """One update, symbolically.

    Attributes
    ----------
    updates : dict
        New values of the parameters and of the state.
    statistics : dict
        Scalars by the names of :data:`STATISTICS`.
    """

    updates: Values
    statistics: dict[str, TensorVariable]


def build_step(graph: LayerGraph, settings: Settings, state: State) -> Step:
    """Build the update of every parameter and state variable.

    Parameters
    ----------
    graph : LayerGraph
        The network.
    settings : Settings
        How to step.
    state : State
        The variables that persist; read here and given new values in the result.
    """
    return StepBuilder(graph, settings, state).build()


class StepBuilder:
    """Builds one :class:`Step`; ``kept`` gathers the new values of the state."""

    def __init__(self, graph: LayerGraph, settings: Settings, state: State) -> None:
        self.graph, self.settings, self.state = graph, settings, state
        self.dtype = graph.loss.type.dtype
        self.l2 = self._number(settings.l2)
        self.damping = settings.damping.value(self.dtype)
        self.count = state.count + np.int32(1)
        self.kept: Values = {state.count: self.count}
        if state.draws is not None:
            self.kept[state.draws] = state.draws + np.uint32(1)

    def _number(self, value: float) -> np.ndarray:
        return np.asarray(value, self.dtype)

    def build(self) -> Step:
        """Return the step: gradient, factors, damped solves, and the guard around them."""
        parameters = list(self.graph.parameters)
        gradients: Values = {
            p: g + self.l2 * p
            for p, g in zip(parameters, grad(self.graph.loss, parameters), strict=True)
        }
        draws = Draws(self.state.draws) if self.state.draws is not None else None
        blocks = self.settings.method.factors(self.graph, draws)
        steps = {p: self._plain_step(gradients[p]) for p in self.graph.unmatched}
        for layer in self.graph.layers:
            factors = self._averaged(layer, blocks[layer])
            direction = self._solved(layer, factors, joined(layer, gradients))
            steps |= separated(layer, self._number(-self.settings.step) * direction)
        return self._guarded(gradients, steps)

    def _plain_step(self, gradient: TensorVariable) -> TensorVariable:
        """Return the step of a parameter that no layer holds."""
        frozen = self.graph.unmatched_treatment == "freeze"
        return self._number(0.0 if frozen else -self.settings.step) * gradient

    def _averaged(self, layer: Layer, fresh: KroneckerFactors) -> KroneckerFactors:
        """Return the moving average of a layer's factors, this batch included."""
        old = self.state.factors("factors", layer)
        if old is None:
            return fresh
        weight = average_weight(self.count, self.settings.curvature_decay, self.dtype)
        new = KroneckerFactors(
            moving_average(old.Q, fresh.Q, weight), moving_average(old.G, fresh.G, weight)
        )
        self.kept |= {old.Q: new.Q, old.G: new.G}
        return new

    def _solved(
        self, layer: Layer, factors: KroneckerFactors, V: TensorVariable
    ) -> TensorVariable:
        """Return the damped block's inverse times V, refreshing kept inverses when due."""
        penalty = penalty_curvature(self.graph, layer)
        gamma = factored_gamma(self.damping, self.l2 if penalty is None else penalty + self.l2)
        old = self.state.factors("inverses", layer)
        if old is None:
            return kronecker_solve(factors, V, gamma)
        shifted = damped(factors, gamma)
        due = pt.eq(self.state.count % np.int32(self.settings.refresh_every), 0)
        Q, G = ifelse(due, [inverse_of(shifted.Q), inverse_of(shifted.G)], [old.Q, old.G])
        self.kept |= {old.Q: Q, old.G: G}
        return KroneckerFactors(Q, G).matmul(V)

    def _guarded(self, gradients: Values, steps: Values) -> Step:
        """Take the step only if the loss, the gradient and the step are finite."""
        loss = self.graph.loss
        gradient_norm, update_norm = norm(gradients.values()), norm(steps.values())
        norms = [loss, gradient_norm, update_norm]
        finite = pt.all(pt.stack([~(pt.isnan(v) | pt.isinf(v)) for v in norms]))
        new = {p: p + step for p, step in steps.items()} | self.kept
        statistics = {
            "loss": loss,
            "damping": self.damping,
            "gamma": factored_gamma(self.damping, self.l2),
            "reduction_ratio": pt.constant(self._number(np.nan)),
            "step_scale": pt.constant(self._number(self.settings.step)),
            "gradient_norm": gradient_norm,
            "update_norm": pt.switch(finite, update_norm, self._number(0)),
            "skipped": ~finite,
        }
        updates = {v: pt.switch(finite, value, v).astype(v.type.dtype) for v, value in new.items()}
        return Step(updates, statistics)


def inverse_of(A: TensorVariable) -> TensorVariable:
    """Return A^-1 of a symmetric positive definite A, through its Cholesky factor."""
    inverse = solve_symmetric(A, pt.eye(A.shape[0], dtype=A.type.dtype))
    return pt.specify_shape(inverse, A.type.shape)


def joined(layer: Layer, values: Values) -> TensorVariable:
    """Return [W; b] as the affine map reads it, of shape (d_in[+1], d_out)."""
    W = values[layer.weight]
    W = W.T if layer.transposed else W.reshape((W.shape[0], layer.matrix.shape[1]))
    if layer.bias is None:
        return W
    return pt.concatenate([W, values[layer.bias].reshape((1, -1))], axis=0)


def separated(layer: Layer, joint: TensorVariable) -> Values:
    """Undo :func:`joined`."""
    d_in = factor_sizes(layer)[0] - (layer.bias is not None)
    W = joint[:d_in].T if layer.transposed else joint[:d_in]
    separated = {layer.weight: W.reshape(value_shape(layer.weight))}
    if layer.bias is not None:
        separated[layer.bias] = joint[d_in].reshape(value_shape(layer.bias))
    return separated


def norm(values: Iterable[TensorVariable]) -> TensorVariable:
    """Return the Euclidean norm over all entries of all values."""
    squares = [(v**2).sum() for v in values]
    return pt.sqrt(squares[0] if len(squares) == 1 else pt.add(*squares))


def kfgn_updates(
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    *,
    output: TensorVariable | None = None,
    unmatched: str = "error",
    **settings: Any,
) -> dict[SharedVariable, TensorVariable]:
    """Return one update as a PyTensor updates dictionary.

    Parameters
    ----------
    loss : scalar TensorVariable
        See :func:`trace_layers`.
    params : sequence of shared variables
        The parameters to train; the current shapes of their values are those of the factors.
    output, unmatched
        See :func:`trace_layers`.
    **settings
        ``method``, ``damping``, ``step``, ``l2``, ``curvature_decay``, ``refresh_every``,
        ``inverse`` and ``seed``, as for :func:`compile_update`.

    Returns
    -------
    dict
        New values of the parameters and of the state, keyed by shared variable, to be given
        to :func:`pytensor.function`. A step that is not finite leaves all as it is.

    Raises
    ------
    KfgnError
        As :func:`trace_layers`; SpecError for a setting that is not allowed.
    """
    unknown = sorted(set(settings) - set(Settings.__dataclass_fields__))
    if unknown:
        known = sorted(Settings.__dataclass_fields__)
        raise SpecError(f"unknown settings {unknown}; known are {known}.")
    chosen = Settings(**settings)
    graph = trace_layers(loss, params, output, unmatched)
    return build_step(graph, chosen, State(graph, chosen)).updates
