r"""The adaptive recipe, transcribed: a chain net trained in NumPy with dense matrices.

Martens and Grosse 2015, sections 6.3 to 7, in the order of their numbers: factored damping, the
step lengths and momentum that minimise the quadratic model under the exact Gauss-Newton matrix,
lambda by the reduction ratio, gamma by search. The Gauss-Newton matrix is formed, from the
Jacobian of each example. All parameters are one vector: of each layer ``[W; b]``, row-major.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from tests.reference import kronecker, recursions
from tests.reference.training import HEADS, METHODS, REFRESHED_FIRST

Array = np.ndarray


@dataclass(frozen=True)
class Recipe:
    """What can be chosen; ``first_damping`` None makes lambda_0 relative to the curvature's scale,
    as its floor ``least_ratio`` is. ``examples`` is of how many at the batch's beginning the
    quadratic model's curvature is, None of all.

    An update whose ratio is below ``reject_below`` leaves all as it was but what was learnt of the
    curvature and lambda, which is raised. With ``watch``, the ratio is measured where lambda
    adapts, at so many updates from the start and from each whose ratio was not above both
    ``trusted_above`` and ``reject_below``, and where the update is longer than ``long`` times the
    last that was taken.
    """

    l2: float = 0.0
    decay: float = 0.95
    factors_every: int = 1
    refresh_every: int = 1
    groups: int = 2
    examples: int | None = None
    momentum: bool = True
    reject_below: float | None = 0.25
    watch: int | None = None
    trusted_above: float = 0.75
    long: float = 1.5
    first_damping: float | None = None
    first_ratio: float = 0.4
    least_ratio: float = 1e-3
    damping_every: int = 5
    damping_decay: float = 19 / 20
    failure_factor: float = 4.0
    gamma_every: int | None = None
    gamma_bounds: tuple[float, float] = (0.0, np.inf)


class Report(NamedTuple):
    """What one update did: a row of the training's record."""

    loss: float
    damping: float
    gamma: float
    reduction_ratio: float
    step_scale: float
    momentum: float
    gradient_norm: float
    update_norm: float
    rejected: bool


class Model(NamedTuple):
    """The lowest point of the quadratic model: the update, the decrease, the coefficients."""

    update: Array
    change: float
    coefficients: Array


@dataclass
class AdaptiveTrainer:
    """A chain net with biases, its recipe, and what its training remembers."""

    weights: list[Array]
    biases: list[Array]
    activations: Sequence[str]
    head: str
    method: str
    recipe: Recipe = field(default_factory=Recipe)
    updates: int = 0
    estimates: int = 0
    failed: bool = False
    untrusted: int | None = None
    length: float = 0.0
    damping: float | None = None
    gamma: float | None = None
    factors: list[tuple[Array, Array]] = field(default_factory=list)
    inverses: list[tuple[Array, Array]] = field(default_factory=list)
    previous: Array | None = None
    averaged: Array | None = None

    # --- the net ------------------------------------------------------------------------------

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The shape of ``[W; b]`` of each layer."""
        return [(W.shape[0] + 1, W.shape[1]) for W in self.weights]

    @property
    def theta(self) -> Array:
        """All parameters."""
        layers = zip(self.weights, self.biases, strict=True)
        return np.concatenate([np.vstack([W, b]).ravel() for W, b in layers])

    def layered(self, vector: Array) -> list[Array]:
        """Cut a vector over all parameters into the layers' matrices."""
        ends = np.cumsum([rows * columns for rows, columns in self.shapes])
        parts = np.split(vector, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def objective(self, theta: Array, x: Array, y: Array) -> float:
        """Return the loss plus ``l2 / 2`` times the squared norm, at any parameters."""
        layers = self.layered(theta)
        weights, biases = [m[:-1] for m in layers], [m[-1] for m in layers]
        run = recursions.forward(weights, biases, self.activations, x)
        return HEADS[self.head](run.output, y)[0] + self.recipe.l2 / 2 * float(theta @ theta)

    def jacobians(self, x: Array) -> Array:
        """Return the derivatives of each example's outputs by all parameters, (N, K, P)."""
        units = np.eye(self.weights[-1].shape[1])

        def rows(example: Array) -> list[Array]:
            run = recursions.forward(self.weights, self.biases, self.activations, example)
            return [
                np.concatenate(
                    [g.ravel() for g in recursions.gradients(run, self.weights, unit[None])]
                )
                for unit in units
            ]

        return np.stack([np.stack(rows(example[None])) for example in x])

    # --- the recipe ---------------------------------------------------------------------------

    def update(self, x: Array, y: Array) -> Report:
        """Take one step on a batch."""
        recipe, theta, before = self.recipe, self.theta, replace(self)
        self.updates += 1
        run = recursions.forward(self.weights, self.biases, self.activations, x)
        loss, by_output, hessian = HEADS[self.head](run.output, y)
        slopes = recursions.gradients(run, self.weights, by_output)
        gradient = np.concatenate([s.ravel() for s in slopes]) + recipe.l2 * theta
        n = recipe.examples or len(x)
        J = self.jacobians(x[:n])
        curvature = len(x) / n * np.einsum("nkp,nkl,nlq->pq", J, hessian[:n], J)

        self._estimate(run, hessian)
        damping = max(
            self.damping or self._first_damping(hessian), recipe.least_ratio * self._scale()
        )
        self.damping = damping
        shifted = curvature + (damping + recipe.l2) * np.eye(len(theta))
        gamma = self._choose_gamma(gradient, shifted)
        if self._refresh_due():
            self.inverses = self._invert(gamma)
        best = self._minimise(self._proposal(gradient, self.inverses), gradient, shifted)

        ratio, rejected = np.nan, False
        due = self.updates % recipe.damping_every == 0
        length = float(np.linalg.norm(best.update))
        if due or self._watching(length):
            here, there = (self.objective(t, x, y) for t in (theta, theta + best.update))
            ratio = (there - here) / best.change
            rejected = recipe.reject_below is not None and ratio < recipe.reject_below
        if rejected:
            learnt = {"factors": self.factors, "inverses": self.inverses}
            vars(self).update(vars(before) | learnt)
            self.damping = recipe.failure_factor * damping
        else:
            self._remember(theta + best.update, best.update)
            self.length = length
            if due:
                self._adapt(ratio)
        self.failed = rejected
        self._watch(ratio)
        return Report(
            loss,
            damping,
            gamma,
            ratio,
            best.coefficients[0],
            best.coefficients[-1] if recipe.momentum else 0.0,
            float(np.linalg.norm(gradient)),
            0.0 if rejected else length,
            rejected,
        )

    def _watching(self, length: float) -> bool:
        """Return whether the ratio is measured where lambda does not adapt."""
        if self.untrusted is None:
            self.untrusted = self.recipe.watch
        long = length > self.recipe.long * self.length
        return self.recipe.reject_below is not None and (self.untrusted != 0 or long)

    def _watch(self, ratio: float) -> None:
        """Count down to trust, or begin again."""
        recipe = self.recipe
        if recipe.reject_below is None or recipe.watch is None:
            return
        if ratio <= max(recipe.trusted_above, recipe.reject_below):
            self.untrusted = recipe.watch
        elif self.untrusted:
            self.untrusted -= 1

    def _estimate(self, run: recursions.ChainPass, hessian: Array) -> None:
        """Let this batch enter the moving average of the factors, where it is due."""
        every = self.recipe.factors_every
        if self.updates > REFRESHED_FIRST and self.updates % every:
            return
        self.estimates += 1
        fresh = zip(
            [recursions.input_factor(a, biased=True) for a in run.inputs],
            METHODS[self.method](self.weights, run, hessian),
            strict=True,
        )
        past = min(1 - 1 / self.estimates, self.recipe.decay)
        self.factors = [
            (Q, G)
            if past == 0
            else (past * old[0] + (1 - past) * Q, past * old[1] + (1 - past) * G)
            for (Q, G), old in zip(fresh, self.factors or [None] * len(self.weights), strict=True)
        ]

    def _first_damping(self, hessian: Array) -> float:
        """Return lambda's first value: by default a multiple of the mean output's curvature."""
        if self.recipe.first_damping is not None:
            return self.recipe.first_damping
        return self.recipe.first_ratio * float(np.trace(hessian.sum(axis=0)) / hessian.shape[1])

    def _scale(self) -> float:
        """Return the mean eigenvalue of all blocks together."""
        return float(sum(np.trace(Q) * np.trace(G) for Q, G in self.factors)) / len(self.theta)

    def _choose_gamma(self, gradient: Array, shifted: Array) -> float:
        """Return gamma: tied to lambda, or the best of three where a search is due."""
        assert self.damping is not None
        tied = float(np.sqrt(self.damping + self.recipe.l2))
        every = self.recipe.gamma_every
        if every is None:
            return tied
        self.gamma = self.gamma or tied
        if self.updates % every == 0:
            omega = np.sqrt(19 / 20) ** every
            tried = [omega * self.gamma, self.gamma, self.gamma / omega]
            candidates = [float(np.clip(g, *self.recipe.gamma_bounds)) for g in tried]
            changes = [
                self._minimise(self._proposal(gradient, self._invert(g)), gradient, shifted).change
                for g in candidates
            ]
            self.gamma = candidates[int(np.argmin(changes))]
        return self.gamma

    def _refresh_due(self) -> bool:
        searched = self.recipe.gamma_every
        return (
            self.updates <= REFRESHED_FIRST
            or self.failed
            or self.updates % self.recipe.refresh_every == 0
            or (searched is not None and self.updates % searched == 0)
        )

    def _invert(self, gamma: float) -> list[tuple[Array, Array]]:
        pairs = [kronecker.damped(Q, G, gamma) for Q, G in self.factors]
        return [(np.linalg.inv(Q), np.linalg.inv(G)) for Q, G in pairs]

    def _proposal(self, gradient: Array, inverses: list[tuple[Array, Array]]) -> Array:
        """Return minus the damped blocks' inverses times the gradient."""
        layers = zip(inverses, self.layered(gradient), strict=True)
        return np.concatenate([-(Q @ V @ G).ravel() for (Q, G), V in layers])

    def _minimise(self, proposal: Array, gradient: Array, shifted: Array) -> Model:
        """Return the lowest point of the model over the proposal's groups and the last update."""
        depth = len(self.weights)
        n = min(self.recipe.groups, depth)
        group = np.concatenate(
            [np.full(r * c, i * n // depth) for i, (r, c) in enumerate(self.shapes)]
        )
        directions = [np.where(group == k, proposal, 0.0) for k in range(n)]
        if self.recipe.momentum:
            first = self.previous is None
            directions.append(np.zeros_like(proposal) if first else self.previous)
        D = np.stack(directions, axis=1)
        K, b = D.T @ shifted @ D, D.T @ gradient
        c = _lowest(K, b)
        if self.recipe.momentum and not 0 <= c[-1] <= 1:
            c[-1] = min(max(c[-1], 0.0), 1.0)
            c[:-1] = _lowest(K[:-1, :-1], b[:-1] + K[:-1, -1] * c[-1])
        return Model(D @ c, float(b @ c + c @ K @ c / 2), c)

    def _adapt(self, ratio: float) -> None:
        """Lower lambda where the model was right, raise it where it was wrong."""
        assert self.damping is not None
        omega = self.recipe.damping_decay**self.recipe.damping_every
        if ratio > 3 / 4:
            self.damping *= omega
        elif not ratio >= 1 / 4:
            self.damping /= omega

    def _remember(self, theta: Array, update: Array) -> None:
        """Move the parameters; the average forgets early iterates fast."""
        layers = self.layered(theta)
        self.weights, self.biases = [m[:-1] for m in layers], [m[-1] for m in layers]
        self.previous = update
        past = min(1 - 9 / (self.updates + 8), 0.99)
        old = theta if self.averaged is None else self.averaged
        self.averaged = past * old + (1 - past) * theta


def _lowest(K: Array, b: Array) -> Array:
    """Return where b'c + c'Kc/2 is lowest, with 0 for what has no curvature."""
    used = np.flatnonzero(np.diag(K))
    c = np.zeros(len(b))
    scale = np.sqrt(np.diag(K)[used])
    scaled = K[np.ix_(used, used)] / np.outer(scale, scale)
    c[used] = -np.linalg.solve(scaled, b[used] / scale) / scale
    return c
