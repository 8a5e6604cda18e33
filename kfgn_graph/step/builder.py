"""One update, symbolically: gradient, direction, step length, and the new value of everything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Constant, Variable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.gauss_newton import GaussNewton, SampledGaussNewton
from kfgn_graph.curvature.penalty import penalty_curvature
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import find_head
from kfgn_graph.layers.derivatives import grads
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.layers.subsample import Leading
from kfgn_graph.layers.substitution import substituted
from kfgn_graph.linalg.averages import iterate_average
from kfgn_graph.linalg.conditional import choose
from kfgn_graph.linalg.vectors import Scalars, Values, all_finite, combined, inner, norm
from kfgn_graph.shared_values import value_shape
from kfgn_graph.step.current_damping import ABSENT, CurrentDamping, applied_damping, first_damping
from kfgn_graph.step.damping import factored_gamma
from kfgn_graph.step.preconditioners import Context, Preconditioner, preconditioner_of
from kfgn_graph.step.quadratic_model import QuadraticModel, quadratic_model
from kfgn_graph.step.reduction_ratio import Outcome, doubtful, outcome
from kfgn_graph.step.schedule import search_due
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import State, factor_sizes, largest_matrix


@dataclass(frozen=True)
class Step:
    """One update, symbolically.

    Attributes
    ----------
    updates : dict
        New values of the parameters and of the state.
    statistics : dict
        Scalars by the names of the fields of :class:`UpdateStats`.
    """

    updates: Values
    statistics: dict[str, TensorVariable]


def build_step(
    graph: LayerGraph, settings: Settings, state: State, leading: Leading | None = None
) -> Step:
    """Build the update of every parameter and state variable.

    Parameters
    ----------
    graph : LayerGraph
        The network.
    settings : Settings
        How the update is computed.
    state : State
        The variables that persist; read here, and given new values in the result.
    leading : Leading, optional
        The network on a batch's first examples, from which the quadratic model's curvature is
        computed; by default from all examples.
    """
    return StepBuilder(graph, settings, state, leading).build()


@dataclass(frozen=True, eq=False)
class Move:
    """An update of the parameters, and the change of the quadratic model that it brings."""

    update: Values
    change: TensorVariable
    step_scale: TensorVariable
    momentum: TensorVariable


class StepBuilder:
    """Builds one :class:`Step`; ``kept`` collects the new values of the state."""

    def __init__(
        self,
        graph: LayerGraph,
        settings: Settings,
        state: State,
        leading: Leading | None = None,
    ) -> None:
        self.graph, self.settings, self.state = graph, settings, state
        self.damping_rule, self.step_rule = settings.damping, settings.step_rule
        self.damping = CurrentDamping(settings.damping, state)
        self.dtype = graph.loss.type.dtype
        self.head = find_head(graph)
        self.products = self._products(leading)
        self.count = state["count"] + np.int32(1)
        self.kept: Values = {state["count"]: self.count}
        draws = state.get("draws")
        if draws is not None:
            self.kept[draws] = draws + np.uint32(1)
        frozen = graph.unmatched if graph.unmatched_treatment == "freeze" else ()
        self.moving = [p for p in graph.parameters if p not in frozen]

    def _number(self, value: float) -> np.ndarray:
        return np.asarray(value, self.dtype)

    def _products(self, leading: Leading | None) -> GaussNewton:
        """Return the quadratic model's curvature."""
        if leading is None or self.step_rule.examples is None:
            return GaussNewton(self.graph, self.head)
        return SampledGaussNewton(self.graph, self.head, leading, self.step_rule.examples)

    def build(self) -> Step:
        """Return the step: direction, step length, adaptation, and the guard around them."""
        gradient = self.gradient
        preconditioner = self.preconditioner()
        size = largest_matrix(self.graph.layers)
        damping, clamped = self.damping.value(
            self._first_damping(preconditioner), preconditioner, size
        )
        # before the direction, whose inversions may fail
        measured = pt.stack([preconditioner.mean_curvature, damping])
        finite_batch = preconditioner.sound & all_finite([measured])
        shifts = self._shifts(applied_damping(damping))
        gamma = self._gamma(preconditioner, gradient, shifts, applied_damping(damping))
        move = self._move(preconditioner.direction(gradient, shifts, gamma), gradient, shifts)
        self.kept |= preconditioner.kept
        known = self._outcome(move)
        self._adapt(damping, known, move)
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
            "flat": self._is_flat(preconditioner, gradient),
        }
        step = self._guarded(move.update, preconditioner, known, statistics)
        failed = statistics["skipped"] | statistics["rejected"]
        adapted = self.kept.get(self.state.get("damping"))
        step.updates.update(self.damping.following(damping, adapted, failed, finite_batch))
        return step

    def preconditioner(self) -> Preconditioner:
        """Return the method's preconditioner.

        Raises
        ------
        CurvatureRuleNotFound
            If the method cannot carry curvature through an Op of the network.
        """
        sound = all_finite([pt.stack([self.graph.loss, norm(self.gradient)])])
        return preconditioner_of(self.settings.method)(
            Context(self.graph, self.head, self.settings, self.state, self.count, sound)
        )

    @cached_property
    def gradient(self) -> Values:
        """The gradient of the objective."""
        gradients = grads(self.graph.loss, self.moving)
        l2 = self._number(self.settings.l2)
        return {p: g + l2 * p for p, g in zip(self.moving, gradients, strict=True)}

    def _objective(self, loss: TensorVariable, moved: Values) -> TensorVariable:
        """Return the loss plus (l2 / 2) ||theta||^2, where parameters may have moved."""
        if self.settings.l2 == 0:
            return loss
        values = {p: moved.get(p, p) for p in self.moving}
        return loss + self._number(self.settings.l2 / 2) * inner(values, values)

    def _first_damping(self, preconditioner: Preconditioner) -> TensorVariable:
        """Return lambda of the first update, from the loss's curvature in an output."""
        hessian = self.head.summed_hessian()
        outputs = hessian.shape[0].astype(self.dtype)
        whole = self._whole(preconditioner)
        return first_damping(
            self.damping_rule, pt.trace(hessian), outputs, whole, norm(self.gradient)
        )

    def _is_flat(self, preconditioner: Preconditioner, gradient: Values) -> TensorVariable:
        """Return whether there is no curvature; false if a preconditioner does not estimate it."""
        if isinstance(preconditioner.mean_curvature, Constant):
            return pt.constant(False)
        return pt.lt(self._whole(preconditioner), self._number(ABSENT) * norm(gradient))

    def _whole(self, preconditioner: Preconditioner) -> TensorVariable:
        """Return the trace of the curvature of all parameters in layers."""
        sizes = [int(np.prod(factor_sizes(layer))) for layer in self.graph.layers]
        sizes += [int(np.prod(value_shape(each.weight))) for each in self.graph.diagonal]
        return preconditioner.mean_curvature * self._number(sum(sizes))

    def _shifts(self, damping: TensorVariable) -> Scalars:
        """Return lambda + eta of each parameter; eta from ``l2`` and from the loss's penalties."""
        shifts = dict.fromkeys(self.graph.parameters, damping + self._number(self.settings.l2))
        groups = [
            [p for p in (layer.weight, layer.bias) if p is not None] for layer in self.graph.layers
        ]
        for parameters in [*groups, *([each.weight] for each in self.graph.diagonal)]:
            penalty = penalty_curvature(self.graph, parameters)
            for p in parameters:
                if penalty is not None:
                    shifts[p] = shifts[p] + penalty
        return shifts

    def _gamma(
        self,
        preconditioner: Preconditioner,
        gradient: Values,
        shifts: Scalars,
        damping: TensorVariable,
    ) -> TensorVariable:
        """Return gamma: tied to lambda, or the best of three where a search is due."""
        tied = factored_gamma(damping + self._number(self.settings.l2))
        kept = self.state.get("gamma")
        if kept is None:
            return tied
        gamma = pt.switch(pt.gt(kept, 0), kept, tied)
        candidates = self.damping_rule.gamma_candidates(gamma)
        moves = [
            self._move(preconditioner.trial(gradient, shifts, candidates[i]), gradient, shifts)
            for i in range(3)
        ]
        best = candidates[pt.argmin(pt.stack([move.change for move in moves]))]
        due = search_due(self.count, self.damping_rule.gamma_every)
        self.kept[kept] = choose(due, [best], [gamma])[0]
        return self.kept[kept]

    def _move(self, direction: Values, gradient: Values, shifts: Scalars) -> Move:
        """Return the update along a direction, with the lengths of the step rule."""
        previous = dict(zip(self.graph.parameters, self.state.vector("previous"), strict=False))
        directions = self.step_rule.directions(self.graph, direction, previous)
        model = quadratic_model(self.products, gradient, directions, shifts)
        coefficients = self._lengths(model, len(directions))
        return Move(
            combined(coefficients, directions),
            model.change(coefficients),
            coefficients[0],
            coefficients[-1] if previous else pt.constant(self._number(0)),
        )

    def _lengths(self, model: QuadraticModel, count: int) -> list[TensorVariable]:
        """Return what the step rule says; raise :class:`SpecError` if it fits no direction."""
        lengths = self.step_rule.lengths(model)
        scalars = isinstance(lengths, list | tuple) and all(
            isinstance(c, Variable) and c.type.ndim == 0 for c in lengths
        )
        if not scalars or len(lengths) != count:
            raise SpecError(
                f"{type(self.step_rule).__name__}.lengths must return {count} scalar variables, "
                f"one for each direction, not {lengths!r}."
            )
        return list(lengths)

    def _outcome(self, move: Move) -> Outcome:
        """Return what the loss at the new parameters says, where lambda adapts."""
        if not self.damping_rule.adaptive:
            no = pt.constant(np.asarray(False))
            return Outcome(pt.constant(self._number(np.nan)), no, no)
        moved = {p: p + d for p, d in move.update.items()}
        losses = (
            self._objective(self.graph.loss, {}),
            self._objective(substituted(self.graph.loss, moved), moved),
        )
        due, watch, last = self._adapting(), self.state.get("watch"), self.state.get("length")
        if watch is not None and last is not None:
            due = due | doubtful(watch, last, norm(move.update))
        return outcome(self.settings, due, watch, losses, move.change)

    def _adapting(self) -> TensorVariable:
        """Return whether lambda adapts at this update."""
        return pt.eq(self.count % np.int32(self.damping_rule.period), 0)

    def _adapt(self, damping: TensorVariable, known: Outcome, move: Move) -> None:
        """Set the state after an accepted update: lambda, the update, its length, averages."""
        kept = self.state.get("damping")
        if kept is not None:
            adapted = self.damping_rule.adapted(damping, known.ratio)
            # an update of length 0, as of a batch without a gradient, has no ratio
            due = self._adapting() & known.resolved & pt.gt(norm(move.update), 0)
            self.kept[kept] = pt.switch(due, adapted, damping)
        length = self.state.get("length")
        if length is not None:
            self.kept[length] = norm(move.update)
        for p, kept in zip(self.graph.parameters, self.state.vector("previous"), strict=False):
            if p in move.update:
                self.kept[kept] = move.update[p]
        for p, kept in zip(self.graph.parameters, self.state.vector("averages"), strict=False):
            new = p + move.update[p] if p in move.update else p
            self.kept[kept] = iterate_average(kept, new, self.count)

    def _guarded(
        self,
        update: Values,
        preconditioner: Preconditioner,
        known: Outcome,
        statistics: dict[str, TensorVariable],
    ) -> Step:
        """Accept the step only if it is not rejected and all that it is made of is finite.

        Otherwise parameters and state stay as they were, with three exceptions: what was learnt
        of the curvature, lambda, and the flag that makes the next update invert.
        """
        measured = pt.stack([statistics["update_norm"], preconditioner.mean_curvature])
        finite = preconditioner.sound & all_finite([measured])
        accepted = finite & ~known.rejected
        statistics["update_norm"] = pt.switch(accepted, statistics["update_norm"], self._number(0))
        statistics |= {"skipped": ~finite, "rejected": finite & known.rejected}
        # the increment is masked, not the sum, which nothing but the test of the step needs
        updates = {p: p + pt.switch(accepted, d, self._number(0)) for p, d in update.items()}
        updates |= {v: pt.switch(accepted, value, v) for v, value in self.kept.items()}
        updates = {v: value.astype(v.type.dtype) for v, value in updates.items()}
        updates |= preconditioner.learnt
        watch = self.state.get("watch")
        if watch is not None and known.watch is not None:
            updates[watch] = pt.switch(finite, known.watch, watch)
        return Step(updates, statistics)
