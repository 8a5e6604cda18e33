"""Floating-point operations of one update, from the shapes of the recognised layers.

An addition and a multiplication count as one operation each, and every product is counted in full.
The count of a part that is not due at every update is divided by its period. The count is a sum
over the layers, without the additional cost of blocks that couple two branches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import kfgn_graph as kfgn
from kfgn_graph.program.explanation.layers import LayerShape
from kfgn_graph.program.rules import resolve_backend
from kfgn_graph.program.spec.models import GraphSpec

Kind = Literal["product", "inversion", "memory"]
Cost = Callable[[LayerShape], float]
CHOLESKY = 1 / 3
"""The operations of a Cholesky decomposition, in cubes of the width."""
NEWTON_SCHULZ_STEPS = 4
"""The typical number of Newton-Schulz steps from the last inverse; some refreshes take three."""
INVERSION_COST = {
    "cholesky": 1.0,
    "newton-schulz": 4.0 * NEWTON_SCHULZ_STEPS,
    "eigh": 10.0,
    "exact": 10.0,
    "ekfac": 10.0,
}
"""The operations of inverting a factor, in cubes of its width: a Cholesky decomposition and the
inverse from it, Newton-Schulz steps of two products each, or an eigendecomposition."""


@dataclass(frozen=True)
class Part:
    """A part of an update.

    Attributes
    ----------
    name : str
        The name of the part.
    kind : {"product", "inversion", "memory"}
        The rate of the machine that determines its time.
    amounts : tuple of float
        The floating-point operations of each layer. For ``"memory"``, one number, the total bytes
        read and written.
    """

    name: str
    kind: Kind
    amounts: tuple[float, ...]

    @property
    def amount(self) -> float:
        """The sum of the amounts."""
        return sum(self.amounts)


@dataclass(frozen=True)
class Counter:
    """A counter of the operations of a spec's update on recognised layers.

    Attributes
    ----------
    spec : GraphSpec
        The spec, which holds the settings.
    layers : sequence of LayerShape
        The layers in forward order.
    columns : int
        K, the number of network outputs per example.
    """

    spec: GraphSpec
    layers: Sequence[LayerShape]
    columns: int

    conjugate_steps: ClassVar[int] = kfgn.HessianFree().iterations

    def parts(self) -> list[Part]:
        """Return the parts of an update, each averaged over its period."""
        parts = [self._part("forward and backward", "product", self._gradient)]
        if self.spec.method.first_order:
            return parts
        if self.spec.method.name == "hessianfree":
            name = f"conjugate gradients, {self.conjugate_steps} iterations at most"
            times = 2 * self.conjugate_steps
            parts.append(self._part(name, "product", lambda layer: times * self._image(layer)))
        else:
            parts += [*self._factors(), *self._inverses(), *self._search()]
        return [*parts, *self._model()]

    def _part(self, name: str, kind: Kind, cost: Cost, every: int = 1) -> Part:
        return Part(name, kind, tuple(cost(layer) / every for layer in self.layers))

    def _forward(self, layer: LayerShape) -> float:
        return self.spec.batch * layer.products

    def _to_inputs(self, layer: LayerShape) -> float:
        """Return the operations to propagate a vector per example through a layer, either way."""
        return 0.0 if layer.first else self._forward(layer)

    def _gradient(self, layer: LayerShape) -> float:
        return 2 * self._forward(layer) + self._to_inputs(layer)

    def _image(self, layer: LayerShape) -> float:
        """Return a layer's operations in J v, where v is a direction in all parameters."""
        return self._forward(layer) + self._to_inputs(layer)

    def _factors(self) -> list[Part]:
        method, every = self.spec.method, self.spec.schedule.factors_every
        parts = [self._part("factors Q", "product", lambda a: self._square(a, a.q), every)]
        if method.name == "kfra":
            return [*parts, self._part("recursion of G", "product", self._recursion, every)]
        k = self.columns if method.name == "kflr" else method.samples
        parts += [
            self._part("columns back", "product", lambda a: k * self._to_inputs(a), every),
            self._part("factors G", "product", lambda a: k * self._square(a, a.g), every),
        ]
        if self.spec.schedule.inverse == "ekfac":
            name = "moments in the eigenbasis"
            parts.append(self._part(name, "product", lambda a: self._moments(a, k), every))
        return parts

    def _square(self, layer: LayerShape, width: int) -> float:
        """Return the operations of X^T X, where X holds a row per example and position."""
        return 2.0 * self.spec.batch * layer.positions * width**2

    def _recursion(self, layer: LayerShape) -> float:
        """Return the operations of W G W^T and of the mean of b b^T, in the step below a layer."""
        if layer.first:
            return 0.0
        wide = 2.0 * layer.coupled**2 * layer.inputs * layer.outputs
        rows = self.spec.batch * layer.positions // layer.coupled
        mean = 2.0 * rows * (layer.coupled * layer.inputs) ** 2
        return wide * (layer.inputs + layer.outputs) + mean

    def _moments(self, layer: LayerShape, columns: int) -> float:
        """Return the operations of a block's second moments in the eigenbases of its factors."""
        rows = self.spec.batch * layer.positions
        widths = layer.q**2 + columns * (layer.g**2 + layer.q * layer.g)
        return 2.0 * rows * widths

    @property
    def _solves(self) -> bool:
        """Whether linear systems are solved by Cholesky factors, so that no inverse is formed."""
        cholesky = self.spec.schedule.inverse == "cholesky"
        return cholesky and resolve_backend(self.spec.backend) == "jax"

    def _inverses(self) -> list[Part]:
        schedule = self.spec.schedule
        solving = self._solves and schedule.refresh_every == 1
        cost = CHOLESKY if solving else INVERSION_COST[schedule.inverse]
        kind: Kind = "product" if schedule.inverse == "newton-schulz" else "inversion"
        name, applied = (
            ("Cholesky factors", "solves") if solving else ("inverses", "preconditioning")
        )
        every = schedule.refresh_every
        return [
            self._part(name, kind, lambda layer: cost * _cubes(layer), every),
            self._part(applied, "product", self._preconditioning),
        ]

    def _preconditioning(self, layer: LayerShape) -> float:
        """Return the operations of applying the inverse of a block to the gradient."""
        once = 2.0 * layer.q * layer.g * (layer.q + layer.g)
        return once if self.spec.schedule.inverse in ("cholesky", "newton-schulz") else 2 * once

    def _search(self) -> list[Part]:
        """Return the parts of the search for gamma, which tries three candidates per period."""
        damping, inverse = self.spec.damping, self.spec.schedule.inverse
        if damping.gamma != "search":
            return []
        kind: Kind = "product" if inverse == "newton-schulz" else "inversion"
        cost = 3 * (CHOLESKY if self._solves else INVERSION_COST[inverse])
        steps = [
            3 * (self._preconditioning(layer) + image) / damping.gamma_every
            for layer, image in zip(self.layers, self._images(), strict=True)
        ]
        cubes = self._part(
            "search: inverses", kind, lambda layer: cost * _cubes(layer), damping.gamma_every
        )
        return [cubes, Part("search: steps", "product", tuple(steps))]

    def _model(self) -> list[Part]:
        """Return the parts of the quadratic model and of the reduction ratio.

        The model multiplies the Jacobian J by each direction; the ratio needs the new loss.
        """
        damping, step = self.spec.damping, self.spec.step
        adaptive = damping.rule == "levenberg-marquardt"
        parts = []
        if adaptive or step.length is None:
            parts.append(Part("quadratic model", "product", self._images()))
        if adaptive:
            name = "loss at the new parameters"
            parts.append(self._part(name, "product", self._forward, damping.every))
        return parts

    def _images(self) -> tuple[float, ...]:
        """Return the operations of J times all directions, in forward mode, by layer."""
        step, n, count = self.spec.step, self.spec.batch, len(self.layers)
        if step.length is not None:
            return tuple(self._image(layer) for layer in self.layers)
        read, groups = min(step.examples or n, n), min(step.groups, count)
        of_group = [index * groups // count for index in range(count)]
        images = []
        for index, layer in enumerate(self.layers):
            begun = sum(of_group.index(g) < index for g in range(groups))
            once = (1 + begun) * self._forward(layer) + step.momentum * self._image(layer)
            images.append(once * read / n)
        return tuple(images)


def _cubes(layer: LayerShape) -> float:
    return float(layer.q) ** 3 + float(layer.g) ** 3
