"""The proposal of the Kronecker-factored methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.curvature.kronecker import KroneckerFactors, corrected_eigenvalues
from kfgn_graph.curvature.kronecker_sum import KroneckerSum
from kfgn_graph.curvature.lookups import lookup_corrected_eigenvalues
from kfgn_graph.curvature.methods.base import KroneckerBlock, KroneckerMethod
from kfgn_graph.layers.graph import DiagonalParameter, Layer, LayerGraph
from kfgn_graph.linalg.averages import FactorAverage, moving_average
from kfgn_graph.linalg.conditional import choose
from kfgn_graph.linalg.diagonals import average_of_vectors, is_vector
from kfgn_graph.linalg.random import Draws
from kfgn_graph.linalg.vectors import Scalars, Values, all_finite, total
from kfgn_graph.shared_values import value_shape
from kfgn_graph.solve.base import BlockDamping, Inverse, KeptBlock, Parts
from kfgn_graph.solve.sums import check_sums, strategy_for
from kfgn_graph.step.damping import factored_gamma
from kfgn_graph.step.preconditioners.base import Context, Preconditioner, register_preconditioner
from kfgn_graph.step.schedule import FIRST, average_weight, is_due, search_due
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import block_shapes, factor_sizes


@register_preconditioner(KroneckerMethod)
class KroneckerPreconditioner(Preconditioner):
    """The inverses of the damped Kronecker-factored blocks, times the negative gradient."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.graph, self.settings = context.graph, context.settings
        self.state, self.count = context.state, context.count
        graph, head, settings, method = self.graph, context.head, self.settings, self._method
        random = method.random or bool(graph.diagonal)
        draws = Draws(self.state["draws"]) if random else None
        self._weight = average_weight(
            self.count, settings.curvature_decay, settings.factors_every, graph.loss.type.dtype
        )
        corrected = settings.strategy.corrected and bool(graph.layers)
        self._columns = method.columns(graph, head, draws) if corrected else {}
        blocks = (
            method.with_inputs(graph, method.from_columns(self._columns))
            if corrected
            else method.factors(graph, draws, head)
        )
        diagonals = method.diagonals(graph, head, draws)
        self.factors = self._averaged(
            blocks, {each: block.values for each, block in diagonals.items()}
        )
        self._measure()

    @classmethod
    def initial_state(cls, graph: LayerGraph, settings: Settings) -> dict[str, np.ndarray]:
        dtype, state = graph.loss.type.dtype, {}
        method: KroneckerMethod = settings.method  # type: ignore[assignment]
        summed = [layer for layer in graph.layers if method.is_sum(layer)]
        check_sums(summed, settings.inverse, method)
        for layer in graph.layers:
            if settings.keeps_factors:
                for name, shape in block_shapes(layer, layer in summed).items():
                    state[f"factors/{layer.key}/{name}"] = np.zeros(shape, dtype)
            if settings.keeps_inverses:
                strategy = strategy_for(settings.strategy, layer in summed)
                parts = _initial_parts(strategy, layer, dtype)
                state |= {f"inverses/{layer.key}/{part}": v for part, v in parts.items()}
        for each in graph.diagonal:
            if settings.keeps_factors:
                state[f"factors/{each.key}/diagonal"] = np.zeros(value_shape(each.weight), dtype)
        return state

    @classmethod
    def summary(cls, settings: Settings) -> str:
        return (
            f"factors: moving average {settings.curvature_decay}, every {settings.factors_every} "
            f"update(s); inverses by {settings.inverse} every {settings.refresh_every}; both in "
            f"each of the first {FIRST}"
        )

    @property
    def _method(self) -> KroneckerMethod:
        method: KroneckerMethod = self.context.settings.method  # type: ignore[assignment]
        return method

    def _strategy(self, layer: Layer) -> Inverse:
        return strategy_for(self.settings.strategy, self._method.is_sum(layer))

    def _averaged(
        self,
        blocks: dict[Layer, KroneckerBlock],
        diagonals: dict[DiagonalParameter, TensorVariable],
    ) -> dict[Layer, Any]:
        """Return the moving averages of all factors, this batch included where due.

        One choice for all layers: what one layer's recursion hands to the next is then in the
        branch as well. The averages of the diagonals are stored in ``self.diagonals``.
        """
        layers = list(reversed(self.graph.layers))
        fresh: dict[tuple[Layer | DiagonalParameter, str], TensorVariable] = {
            (layer, name): pt.specify_shape(getattr(blocks[layer], name), shape)
            for layer in layers
            for name, shape in block_shapes(layer, self._method.is_sum(layer)).items()
        }
        fresh |= {(each, "diagonal"): values for each, values in diagonals.items()}
        keyed: list[Layer | DiagonalParameter] = [*layers, *diagonals]
        old = {
            (layer, name): kept
            for layer in keyed
            for name, kept in self.state.of_layer("factors", layer).items()
        }
        if old:
            # from the output on, as they are found, so that no estimate waits to be averaged
            averages, sound = [], self.sound
            for key, kept in old.items():
                elementwise = key[1] == "diagonal" or is_vector(kept)
                rule = average_of_vectors if elementwise else FactorAverage()
                average, sound = rule(kept, fresh[key], self._weight, sound)
                averages.append(average)
            *averages, self.sound = self._when_estimated(
                [*averages, sound], [*old.values(), self.sound]
            )
            fresh = dict(zip(old, averages, strict=True))
            self.learnt |= dict(zip(old.values(), averages, strict=True))
        self.diagonals = {each: fresh[each, "diagonal"] for each in diagonals}
        averaged: dict[Layer, Any] = {}
        for layer in self.graph.layers:
            block = blocks[layer]
            pieces = {name: fresh[layer, name] for name in block.factors()}
            averaged[layer] = (
                KroneckerSum(**pieces)
                if isinstance(block, KroneckerSum)
                else KroneckerFactors(**pieces, diagonal=block.diagonal)
            )
        return averaged

    def _when_estimated(
        self, new: Sequence[TensorVariable], old: Sequence[TensorVariable]
    ) -> Sequence[TensorVariable]:
        every = self.settings.factors_every
        if every == 1:
            return new
        return choose(is_due(self.count, every), new, old)

    def _measure(self) -> None:
        traces = [f.trace() for f in self.factors.values()]
        sizes = [float(np.prod(factor_sizes(layer))) for layer in self.factors]
        dtype = self.graph.loss.type.dtype
        means = [t / np.asarray(n, dtype) for t, n in zip(traces, sizes, strict=True)]
        zero = pt.constant(np.asarray(0, dtype))
        self.greatest_block = pt.max(pt.stack(means)) if means else zero
        traces += [values.sum() for values in self.diagonals.values()]
        sizes += [float(np.prod(value_shape(each.weight))) for each in self.diagonals]
        self.mean_curvature = total(traces) / np.asarray(sum(sizes), dtype)

    def direction(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        kept = {layer: self.state.of_layer("inverses", layer) for layer in self.factors}
        if not self.settings.keeps_inverses:
            return self.trial(gradient, shifts, gamma)
        dampings = self._dampings(shifts, gamma)
        parts = self._refreshed(dampings, kept)
        steps = self._outside(gradient, shifts)
        for layer, new in parts.items():
            if self.settings.strategy.corrected:
                new["corrected"] = self._corrected(layer, new)
            self.learnt |= {kept[layer][name]: v for name, v in new.items()}
            V = joined(layer, gradient)
            steps |= separated(layer, -self._strategy(layer).apply(new, V, dampings[layer]))
        return steps

    def trial(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        dampings = self._dampings(shifts, gamma)
        steps = self._outside(gradient, shifts)
        for layer, pair in self.factors.items():
            strategy = self._strategy(layer)
            damping, old = dampings[layer], dict(self.state.of_layer("inverses", layer))
            parts = strategy.refresh(pair, damping.gamma, old)
            V = joined(layer, gradient)
            steps |= separated(layer, -strategy.apply(parts, V, damping))
        return steps

    def _outside(self, gradient: Values, shifts: Scalars) -> Values:
        """Return the step of the parameters that no layer holds.

        It is the negative gradient, divided by the damped diagonal where there is one.
        """
        steps = {p: -gradient[p] for p in self.graph.unmatched if p in gradient}
        for each, values in self.diagonals.items():
            p = each.weight
            steps[p] = -gradient[p] / (values + shifts[p])
        return steps

    def _dampings(self, shifts: Scalars, gamma: TensorVariable) -> dict[Layer, BlockDamping]:
        """Return what damps each layer's block: a penalty on one layer damps that one more."""
        searched = self.settings.damping.searched
        return {
            layer: BlockDamping(
                gamma if searched else factored_gamma(shifts[layer.weight]),
                shifts[layer.weight],
            )
            for layer in self.factors
        }

    def _refreshed(
        self, dampings: dict[Layer, BlockDamping], kept: dict[Layer, dict[str, Any]]
    ) -> dict[Layer, Parts]:
        """Return the parts of every layer's inverse, computed anew when due."""
        due, groups = self.refresh_due() & self.sound, dict[Inverse, list[Layer]]()
        for layer in kept:
            groups.setdefault(self._strategy(layer), []).append(layer)
        found: dict[Layer, Parts] = {}
        for strategy, layers in groups.items():
            blocks = [
                KeptBlock(self.factors[layer], dampings[layer].gamma, dict(kept[layer]))
                for layer in layers
            ]
            parts, finite = strategy.refreshed(blocks, due)
            self.sound = self.sound & finite
            found |= zip(layers, parts, strict=True)
        return {layer: found[layer] for layer in kept}

    def refresh_due(self) -> TensorVariable:
        """Return whether inverses are anew: at first, after a failure, and then evenly."""
        due = is_due(self.count, self.settings.refresh_every) | pt.gt(self.state["failed"], 0)
        if self.settings.damping.searched:
            due = due | search_due(self.count, self.settings.damping.gamma_every)
        return due

    def _corrected(self, layer: Layer, parts: Parts) -> TensorVariable:
        """Return the moving average of the block's second moments in the kept basis."""
        method, G = self._method, parts["G/vectors"]
        C = method.flat_columns(self._columns[layer])
        if layer.index is not None:
            fresh = lookup_corrected_eigenvalues(self.graph, layer, method.sharing, C, G)
        else:
            a, Q = method.flat_input(self.graph, layer), parts["Q/vectors"]
            a = equations.with_unit(a) if layer.bias is not None else a
            fresh = corrected_eigenvalues(a, C, Q, G)
        if layer.reverse is not None:
            c = method.flat_input(self.graph, layer.reverse)
            C = method.flat_columns(self._columns[layer.reverse])
            fresh = fresh + corrected_eigenvalues(c, C, G, Q[: layer.shape[0]]).T
        old = parts["corrected"]
        sound = self.sound & all_finite([fresh])  # a product may overflow where the factors do not
        average = pt.switch(sound, moving_average(old, fresh, self._weight), old)
        return self._when_estimated([average], [old])[0]


def _initial_parts(strategy: Inverse, layer: Layer, dtype: str) -> dict[str, np.ndarray]:
    """Return the parts of a layer's inverse before the first refresh."""
    sizes = factor_sizes(layer)
    if layer.index is not None:
        return strategy.initial_with_vector(*sizes, dtype)
    return strategy.initial(*sizes, dtype)


def joined(layer: Layer, values: Values) -> TensorVariable:
    """Return [W; b] as the affine map reads it, of shape (d_in[+1], d_out)."""
    W = layer.as_matrix(values[layer.weight])
    if layer.bias is None:
        return W
    return pt.concatenate([W, values[layer.bias].reshape((1, -1))], axis=0)


def separated(layer: Layer, joint: TensorVariable) -> Values:
    """Undo :func:`joined`."""
    d_in = factor_sizes(layer)[0] - (layer.bias is not None)
    separated = {layer.weight: layer.as_weight(joint[:d_in])}
    if layer.bias is not None:
        separated[layer.bias] = joint[d_in].reshape(value_shape(layer.bias))
    return separated
