"""One training step, symbolically: gradient, proposal, step length, and every new value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import grad
from pytensor.graph.replace import graph_replace
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.gauss_newton import GaussNewton, SampledGaussNewton
from kfgn_graph.curvature.penalty import penalty_curvature
from kfgn_graph.heads import find_head
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.linalg.averages import iterate_average
from kfgn_graph.linalg.conditional import choose
from kfgn_graph.linalg.vectors import Scalars, Values, all_finite, combined, inner, norm
from kfgn_graph.step.damping import LevenbergMarquardt, factored_gamma, least_damping
from kfgn_graph.step.preconditioners import Proposal, proposal_of, search_due
from kfgn_graph.step.quadratic_model import quadratic_model
from kfgn_graph.step.reduction_ratio import Outcome, doubtful, outcome
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import State, factor_sizes
from kfgn_graph.step.step_rules import Rescaling
from kfgn_graph.tracing import Source

#: What an update reports besides the loss, in order.
STATISTICS = (
    "loss",
    "damping",
    "gamma",
    "reduction_ratio",
    "step_scale",
    "momentum",
    "gradient_norm",
    "update_norm",
    "skipped",
    "clamped",
    "rejected",
)


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


def build_step(source: Source, graph: LayerGraph, settings: Settings, state: State) -> Step:
    """Build the update of every parameter and state variable.

    Parameters
    ----------
    source : Source
        The loss.
    graph : LayerGraph
        What was recognised in it.
    settings : Settings
        How to step.
    state : State
        The variables that persist; read here and given new values in the result.
    """
    return StepBuilder(source, graph, settings, state).build()


@dataclass(frozen=True, eq=False)
class Move:
    """A chosen update of the parameters and what the quadratic model says of it."""

    update: Values
    change: TensorVariable
    step_scale: TensorVariable
    momentum: TensorVariable


class StepBuilder:
    """Builds one :class:`Step`; ``kept`` gathers the new values of the state."""

    def __init__(
        self, source: Source, graph: LayerGraph, settings: Settings, state: State
    ) -> None:
        self.graph, self.settings, self.state = graph, settings, state
        self.dtype = graph.loss.type.dtype
        self.head = find_head(graph)
        self.products = self._products(source)
        self.count = state.count + np.int32(1)
        self.kept: Values = {state.count: self.count}
        if state.draws is not None:
            self.kept[state.draws] = state.draws + np.uint32(1)
        frozen = graph.unmatched if graph.unmatched_treatment == "freeze" else ()
        self.moving = [p for p in graph.parameters if p not in frozen]

    def _number(self, value: float) -> np.ndarray:
        return np.asarray(value, self.dtype)

    def _products(self, source: Source) -> GaussNewton:
        """Return the quadratic model's curvature, of part of the batch where the settings say."""
        step = self.settings.step
        if isinstance(step, Rescaling) and step.examples is not None:
            leading = source.leading(self.graph, step.examples)
            if leading is not None:
                return SampledGaussNewton(self.graph, self.head, leading, step.examples)
        return GaussNewton(self.graph, self.head)

    def build(self) -> Step:
        """Return the step: proposal, step length, adaptation, and the guard around them."""
        gradient = self._gradient()
        sound = all_finite([pt.stack([self.graph.loss, norm(gradient)])])
        proposal = proposal_of(self.graph, self.head, self.settings, self.state, self.count, sound)
        damping, clamped = self._damping(proposal)
        shifts = self._shifts(damping)
        gamma = self._gamma(proposal, gradient, shifts, damping)
        move = self._move(proposal.direction(gradient, shifts, gamma), gradient, shifts)
        self.kept |= proposal.kept
        known = self._outcome(move)
        self._adapt(damping, known.ratio, move)
        statistics = {
            "loss": self.graph.loss,
            "damping": damping,
            "gamma": gamma,
            "reduction_ratio": known.ratio,
            "step_scale": move.step_scale,
            "momentum": move.momentum,
            "gradient_norm": norm(gradient),
            "update_norm": norm(move.update),
            "clamped": clamped,
        }
        return self._guarded(move.update, damping, proposal, known, statistics)

    def _gradient(self) -> Values:
        """Return the gradient of the objective."""
        gradients = grad(self.graph.loss, self.moving)
        l2 = self._number(self.settings.l2)
        return {p: g + l2 * p for p, g in zip(self.moving, gradients, strict=True)}

    def _objective(self, loss: TensorVariable, moved: Values) -> TensorVariable:
        """Return the loss plus (l2 / 2) ||theta||^2, where parameters may have moved."""
        if self.settings.l2 == 0:
            return loss
        values = {p: moved.get(p, p) for p in self.moving}
        return loss + self._number(self.settings.l2 / 2) * inner(values, values)

    def _damping(self, proposal: Proposal) -> tuple[TensorVariable, TensorVariable]:
        """Return lambda of this update, and whether the dtype's precision raised it."""
        damping = self.settings.damping.first(self._output_curvature())
        kept = self.state.damping
        if kept is not None:
            # a sum, since XLA gives a constant that a branch returns a dtype of its own
            damping = choose(pt.gt(kept, 0), [kept], [damping + kept])[0]
        damping = self.settings.damping.bounded(damping, proposal.mean_curvature)
        size = max(max(factor_sizes(layer)) for layer in self.graph.layers)
        least = least_damping(proposal.greatest_block, size)
        return pt.maximum(damping, least), pt.lt(damping, least)

    def _output_curvature(self) -> TensorVariable:
        """Return the loss's curvature in an output, summed over examples: the mean of K."""
        hessian = self.head.summed_hessian()
        return pt.trace(hessian) / hessian.shape[0].astype(self.dtype)

    def _shifts(self, damping: TensorVariable) -> Scalars:
        """Return lambda + eta of each parameter; eta from ``l2`` and from the loss's penalties."""
        shifts = dict.fromkeys(self.graph.parameters, damping + self._number(self.settings.l2))
        for layer in self.graph.layers:
            penalty = penalty_curvature(self.graph, layer)
            for p in (layer.weight, layer.bias):
                if p is not None and penalty is not None:
                    shifts[p] = shifts[p] + penalty
        return shifts

    def _gamma(
        self, proposal: Proposal, gradient: Values, shifts: Scalars, damping: TensorVariable
    ) -> TensorVariable:
        """Return gamma: tied to lambda, or the best of three where a search is due."""
        tied = factored_gamma(damping + self._number(self.settings.l2))
        kept = self.state.gamma
        if kept is None:
            return tied
        gamma = pt.switch(pt.gt(kept, 0), kept, tied)
        candidates = self.settings.damping.gamma_candidates(gamma)
        moves = [
            self._move(proposal.trial(gradient, shifts, candidates[i]), gradient, shifts)
            for i in range(3)
        ]
        best = candidates[pt.argmin(pt.stack([move.change for move in moves]))]
        chosen = choose(search_due(self.count, self.settings), [best], [gamma])[0]
        self.kept[kept] = chosen
        return chosen

    def _move(self, proposed: Values, gradient: Values, shifts: Scalars) -> Move:
        """Return the update along a proposal, with step lengths where the settings want them."""
        step, directions = self.settings.step, [proposed]
        previous = dict(zip(self.graph.parameters, self.state.vector("previous"), strict=False))
        if isinstance(step, Rescaling):
            directions = step.directions(self.graph, proposed, previous)
        model = quadratic_model(self.products, gradient, directions, shifts)
        coefficients = (
            step.lengths(model)
            if isinstance(step, Rescaling)
            else [pt.constant(self._number(step))]
        )
        return Move(
            combined(coefficients, directions),
            model.change(coefficients),
            coefficients[0],
            coefficients[-1] if previous else pt.constant(self._number(0)),
        )

    def _outcome(self, move: Move) -> Outcome:
        """Return what the loss at the new parameters says; nothing where lambda does not adapt."""
        rule = self.settings.damping
        if not isinstance(rule, LevenbergMarquardt):
            nothing = pt.constant(self._number(np.nan)), pt.constant(np.asarray(False))
            return Outcome(*nothing)
        moved = {p: p + d for p, d in move.update.items()}
        losses = (
            self._objective(self.graph.loss, {}),
            self._objective(graph_replace(self.graph.loss, moved), moved),
        )
        due, watch, last = self._adapting(), self.state.watch, self.state.length
        if watch is not None and last is not None:
            due = due | doubtful(watch, last, norm(move.update))
        return outcome(rule, self.settings, due, watch, losses, move.change)

    def _adapting(self) -> TensorVariable:
        """Return whether lambda adapts at this update."""
        rule = self.settings.damping
        every = rule.every if isinstance(rule, LevenbergMarquardt) else 1
        return pt.eq(self.count % np.int32(every), 0)

    def _adapt(self, damping: TensorVariable, ratio: TensorVariable, move: Move) -> None:
        """Set lambda of the next update, the last one, its length and averages, if it is taken."""
        rule = self.settings.damping
        if self.state.damping is not None and isinstance(rule, LevenbergMarquardt):
            adapted = pt.switch(self._adapting(), rule.adapted(damping, ratio), damping)
            self.kept[self.state.damping] = adapted
        if self.state.length is not None:
            self.kept[self.state.length] = norm(move.update)
        for p, kept in zip(self.graph.parameters, self.state.vector("previous"), strict=False):
            if p in move.update:
                self.kept[kept] = move.update[p]
        for p, kept in zip(self.graph.parameters, self.state.vector("averages"), strict=False):
            new = p + move.update[p] if p in move.update else p
            self.kept[kept] = iterate_average(kept, new, self.count)

    def _guarded(
        self,
        update: Values,
        damping: TensorVariable,
        proposal: Proposal,
        known: Outcome,
        statistics: dict[str, TensorVariable],
    ) -> Step:
        """Take the step only if it is not rejected and loss, gradient, state and step are finite.

        Else all stays as it was, but what was learnt of the curvature, lambda, which is raised,
        and the mark that makes the next update invert anew.
        """
        measured = pt.stack([statistics["update_norm"], proposal.mean_curvature])
        finite = proposal.sound & all_finite([measured])
        taken = finite & ~known.rejected
        statistics["update_norm"] = pt.switch(taken, statistics["update_norm"], self._number(0))
        statistics |= {"skipped": ~finite, "rejected": finite & known.rejected}
        # what is added is chosen, not the sum, which only the test of the step needs by itself
        updates = {p: p + pt.switch(taken, d, self._number(0)) for p, d in update.items()}
        updates |= {v: pt.switch(taken, value, v) for v, value in self.kept.items()}
        updates = {v: value.astype(v.type.dtype) for v, value in updates.items()}
        updates |= proposal.learnt
        updates[self.state.failed] = (~taken).astype("int32")
        if self.state.watch is not None and known.watch is not None:
            updates[self.state.watch] = pt.switch(finite, known.watch, self.state.watch)
        rule, kept = self.settings.damping, self.state.damping
        if kept is not None and isinstance(rule, LevenbergMarquardt):
            last = pt.switch(finite, damping, kept)
            raised = pt.switch(pt.gt(last, 0), rule.after_failure(last), kept)
            updates[kept] = pt.switch(taken, self.kept[kept], raised)
        return Step(updates, statistics)
