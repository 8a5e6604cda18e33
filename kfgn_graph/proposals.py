"""From the gradient to a proposed direction: what the methods do with their curvature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import pytensor.tensor as pt
from pytensor.conditional.op import ifelse
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.averaging import average_weight, moving_average
from kfgn_graph.damping import factored_gamma
from kfgn_graph.draws import Draws
from kfgn_graph.heads import Head
from kfgn_graph.hessian_free import HessianFree
from kfgn_graph.inverses import BlockDamping, Parts
from kfgn_graph.kronecker import KroneckerFactors, corrected_eigenvalues
from kfgn_graph.layers.graph import Layer, LayerGraph, value_shape
from kfgn_graph.methods import KroneckerMethod
from kfgn_graph.products import GaussNewton
from kfgn_graph.settings import Settings
from kfgn_graph.state import State, factor_sizes
from kfgn_graph.vectors import Scalars, Values, dot, total

#: Updates at the start that refresh the inverses whatever ``refresh_every`` says (Martens and
#: Grosse 2015).
REFRESHED_FIRST = 3


class Proposal(ABC):
    """What turns a gradient into a direction.

    Attributes
    ----------
    kept : Values
        New values of the state that belongs to it.
    mean_curvature : scalar TensorVariable
        The mean eigenvalue of the curvature, on the scale of which lambda starts.
    greatest_block : scalar TensorVariable
        The greatest mean eigenvalue of one layer's block.
    """

    kept: Values
    mean_curvature: TensorVariable
    greatest_block: TensorVariable

    @abstractmethod
    def direction(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        """Return the proposal, a descent direction, and set what is kept.

        Parameters
        ----------
        gradient : Values
            Of all that is to move.
        shifts : Scalars
            lambda + eta of each parameter.
        gamma : scalar
            Damps the factors of methods that have them.
        """

    def trial(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        """Return the proposal with fresh inverses, without setting what is kept."""
        raise NotImplementedError(f"{type(self).__name__} has no gamma to try.")


class KroneckerProposal(Proposal):
    """The damped Kronecker-factored blocks' inverses times the negative gradient."""

    def __init__(
        self,
        graph: LayerGraph,
        head: Head,
        settings: Settings,
        state: State,
        count: TensorVariable,
    ) -> None:
        self.graph, self.settings, self.state, self.count = graph, settings, state, count
        self.kept = {}
        method = settings.method
        assert isinstance(method, KroneckerMethod)
        draws = Draws(state.draws) if state.draws is not None else None
        self._weight = average_weight(
            count, settings.curvature_decay, settings.factors_every, graph.loss.type.dtype
        )
        self._columns = method.columns(graph, head, draws) if settings.corrected else {}
        blocks = (
            method.with_inputs(graph, method.from_columns(self._columns))
            if settings.corrected
            else method.factors(graph, draws, head)
        )
        self.factors = {layer: self._averaged(layer, blocks[layer]) for layer in graph.layers}
        self._measure()

    def _due(self, every: int) -> TensorVariable:
        """Return whether what is done every so many updates is due: at the first, then evenly."""
        return pt.eq((self.count - np.int32(1)) % np.int32(every), 0)

    def _averaged(self, layer: Layer, fresh: KroneckerFactors) -> KroneckerFactors:
        """Return the moving average of a layer's factors, this batch included where due."""
        old = self.state.factors(layer)
        if old is None:
            return fresh
        Q, G = self._when_estimated(
            [
                moving_average(old.Q, fresh.Q, self._weight),
                moving_average(old.G, fresh.G, self._weight),
            ],
            [old.Q, old.G],
        )
        self.kept |= {old.Q: Q, old.G: G}
        return KroneckerFactors(Q, G)

    def _when_estimated(
        self, new: Sequence[TensorVariable], old: Sequence[TensorVariable]
    ) -> Sequence[TensorVariable]:
        every = self.settings.factors_every
        if every == 1:
            return new
        chosen = ifelse(self._due(every), list(new), list(old))
        return chosen if isinstance(chosen, list) else [chosen]

    def _measure(self) -> None:
        traces = [f.trace() for f in self.factors.values()]
        sizes = [float(np.prod(factor_sizes(layer))) for layer in self.factors]
        dtype = self.graph.loss.type.dtype
        self.mean_curvature = total(traces) / np.asarray(sum(sizes), dtype)
        means = [t / np.asarray(n, dtype) for t, n in zip(traces, sizes, strict=True)]
        self.greatest_block = pt.max(pt.stack(means))

    def direction(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        steps = self._outside(gradient)
        for layer, factors in self.factors.items():
            V = joined(layer, gradient)
            damping = self._block_damping(layer, shifts, gamma)
            parts = self.state.inverses(layer)
            if parts:
                new = self._refreshed(layer, factors, damping, parts)
                solved = self.settings.strategy.apply(new, V, damping)
            else:
                solved = self.settings.strategy.solve(factors, V, damping, {})
            steps |= separated(layer, -solved)
        return steps

    def trial(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        steps = self._outside(gradient)
        for layer, factors in self.factors.items():
            damping = self._block_damping(layer, shifts, gamma)
            old: Parts = dict(self.state.inverses(layer))
            solved = self.settings.strategy.solve(factors, joined(layer, gradient), damping, old)
            steps |= separated(layer, -solved)
        return steps

    def _outside(self, gradient: Values) -> Values:
        """Return the step of the parameters that no layer holds: the negative gradient."""
        return {p: -gradient[p] for p in self.graph.unmatched if p in gradient}

    def _block_damping(self, layer: Layer, shifts: Scalars, gamma: TensorVariable) -> BlockDamping:
        shift = shifts[layer.weight]
        own = gamma if self.settings.damping.searched else factored_gamma(shift, 0.0)
        return BlockDamping(own, shift)

    def _refreshed(
        self, layer: Layer, factors: KroneckerFactors, damping: BlockDamping, old: Parts
    ) -> Parts:
        """Return the parts of a layer's inverse, computed anew when due."""
        strategy, names = self.settings.strategy, list(old)
        fresh = strategy.refresh(factors, damping.gamma, dict(old))
        chosen = [fresh[name] for name in names]
        if self.settings.refresh_every > 1:
            chosen = ifelse(self.refresh_due(), chosen, [old[name] for name in names])
        parts = dict(zip(names, chosen, strict=True))
        if self.settings.corrected:
            parts["corrected"] = self._corrected(layer, parts)
        self.kept |= {old[name]: parts[name] for name in names}
        return parts

    def refresh_due(self) -> TensorVariable:
        """Return whether inverses are computed anew: at the first updates, and then evenly."""
        early = pt.le(self.count, np.int32(REFRESHED_FIRST))
        due = early | pt.eq(self.count % np.int32(self.settings.refresh_every), 0)
        if self.settings.damping.searched:
            due = due | search_due(self.count, self.settings)
        return due

    def _corrected(self, layer: Layer, parts: Parts) -> TensorVariable:
        """Return the moving average of the block's second moments in the kept basis."""
        method = self.settings.method
        assert isinstance(method, KroneckerMethod)
        a = method.flat_input(self.graph, layer)
        a = equations.with_unit(a) if layer.bias is not None else a
        fresh = corrected_eigenvalues(
            a, method.flat_columns(self._columns[layer]), parts["Q/vectors"], parts["G/vectors"]
        )
        average = moving_average(parts["corrected"], fresh, self._weight)
        return self._when_estimated([average], [parts["corrected"]])[0]


def search_due(count: TensorVariable, settings: Settings) -> TensorVariable:
    """Return whether gamma is searched for at this update."""
    return pt.eq(count % np.int32(settings.damping.gamma_every), 0)


class HessianFreeProposal(Proposal):
    """The solution of the damped Gauss-Newton system by conjugate gradients."""

    def __init__(
        self,
        graph: LayerGraph,
        head: Head,
        settings: Settings,
        state: State,
        count: TensorVariable,
    ) -> None:
        self.graph, self.kept = graph, {}
        assert isinstance(settings.method, HessianFree)
        self._method = settings.method
        self._products = GaussNewton(graph, head)
        self._start = dict(zip(graph.parameters, state.vector("solution"), strict=True))
        self.mean_curvature = self.greatest_block = self._mean_eigenvalue()

    def _mean_eigenvalue(self) -> TensorVariable:
        """Return an estimate of the mean eigenvalue: a random-sign vector's mean curvature."""
        draws, dtype = Draws(pt.constant(np.uint32(0))), self.graph.loss.type.dtype
        signs = {p: draws.signs(value_shape(p), dtype) for p in self.graph.parameters}
        image = self._products.image(signs)
        size = sum(int(np.prod(value_shape(p))) for p in self.graph.parameters)
        return dot(image, self._products.curvature(image)) / np.asarray(size, dtype)

    def direction(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        solution: Values = {}
        for parameters in self._systems(gradient):
            part = {p: gradient[p] for p in parameters}
            start = {p: self._start[p] for p in parameters}
            solution |= self._method.solve(self._products, part, start, shifts)
        self.kept = {self._start[p]: v for p, v in solution.items()}
        return solution

    def _systems(self, gradient: Values) -> list[list[TensorVariable]]:
        """Return the parameters of each system that is solved by itself."""
        if not self._method.block:
            return [list(gradient)]
        layers = [
            [p for p in (layer.weight, layer.bias) if p is not None] for layer in self.graph.layers
        ]
        return layers + [[p] for p in self.graph.unmatched if p in gradient]


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


def proposal_of(
    graph: LayerGraph, head: Head, settings: Settings, state: State, count: TensorVariable
) -> Proposal:
    """Return the proposal that the settings' method makes."""
    free = isinstance(settings.method, HessianFree)
    return (HessianFreeProposal if free else KroneckerProposal)(
        graph, head, settings, state, count
    )
