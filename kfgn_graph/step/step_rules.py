"""Step rules: how far an update goes along the preconditioned gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.arguments import positive_count, real, switch
from kfgn_graph.errors import SpecError
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.linalg.vectors import Values
from kfgn_graph.step.quadratic_model import QuadraticModel


class StepRule(ABC):
    """A rule for the length of an update.

    The update is a combination of :meth:`directions` with the coefficients that :meth:`lengths`
    returns.
    """

    #: Whether the previous update is a direction, and therefore kept.
    momentum: bool = False
    #: Number of examples that the quadratic model's curvature is computed from; None for all.
    examples: int | None = None
    #: Reduction ratio below which an update is rejected; None accepts every update.
    reject_below: float | None = None
    #: See :class:`Rescaling`.
    watch: int | None = None

    def directions(self, graph: LayerGraph, proposed: Values, previous: Values) -> list[Values]:
        """Return the directions that the update is a combination of.

        Parameters
        ----------
        graph : LayerGraph
            The network.
        proposed : Values
            The preconditioned gradient, a descent direction.
        previous : Values
            The previous update, where ``momentum`` is set; empty otherwise.
        """
        return [proposed]

    @abstractmethod
    def lengths(self, model: QuadraticModel) -> list[TensorVariable]:
        """Return one coefficient for each direction, given the quadratic model on their span."""


@dataclass(frozen=True)
class FixedStep(StepRule):
    """The same step length at every update.

    Parameters
    ----------
    length : float
        The factor of the preconditioned gradient.
    """

    length: float = 1.0

    def __post_init__(self) -> None:
        if real("step", self.length, "zero, a positive number or Rescaling()") < 0:
            raise SpecError(f"step={self.length} is negative, which would raise the loss.")

    def lengths(self, model: QuadraticModel) -> list[TensorVariable]:
        return [pt.constant(np.asarray(self.length, model.slopes[0].type.dtype))]


@dataclass(frozen=True)
class Rescaling(StepRule):
    r"""Step lengths from the quadratic model, :math:`\delta = \alpha \Delta + \mu \delta_0`.

    Parameters
    ----------
    momentum : bool
        Whether the previous update :math:`\delta_0` is a direction beside the preconditioned
        gradient :math:`\Delta`; otherwise :math:`\mu = 0`. :math:`\mu` is clipped to [0, 1]:
        outside, the model would use :math:`\delta_0` to fit the batch, and the updates would grow.
    groups : int
        Number of groups of consecutive layers that :math:`\Delta` is divided into, at most the
        number of layers. Each group has its own step length, since early and late layers allow
        different ones.
    reject_below : float, optional
        Reduction ratio, on the update's own batch, below which the update is rejected: parameters
        and state stay as they were, except for the curvature estimate and lambda, which is raised.
        None accepts every update, as a constant damping does, which cannot be raised.
    watch : int, optional
        Number of updates at which the reduction ratio is measured even if lambda does not adapt,
        counted from the start and again from every update that is rejected or whose ratio is not
        above the damping rule's ``trusted_above``. The ratio costs a forward pass. It is also
        measured for an update more than 1.5 times as long as the last. None measures it at every
        update: choose this for a loss that is not finite everywhere.
    examples : int, optional
        Number of examples, from the beginning of the batch, that the model's curvature is computed
        from; its gradient is always that of the whole batch. This saves most of the model's cost
        for large batches, and assumes that the examples are in random order. None takes the whole
        batch, as does a graph that holds the batch as constant data.
    """

    momentum: bool = True
    groups: int = 2
    reject_below: float | None = 0.25
    watch: int | None = 50
    examples: int | None = 250

    def __post_init__(self) -> None:
        switch("momentum", self.momentum)
        if self.reject_below is not None:
            real("reject_below", self.reject_below)
        positive_count("groups", self.groups)
        if self.watch is not None:
            positive_count("watch", self.watch)
        if self.examples is not None:
            positive_count("examples", self.examples)

    def directions(self, graph: LayerGraph, proposed: Values, previous: Values) -> list[Values]:
        layers = graph.layers
        n = max(1, min(self.groups, len(layers)))
        group_of = {
            p: i * n // len(layers)
            for i, layer in enumerate(layers)
            for p in (layer.weight, layer.bias)
            if p is not None
        }
        groups = [
            {p: v for p, v in proposed.items() if group_of.get(p, n - 1) == k} for k in range(n)
        ]
        return groups + ([{p: previous[p] for p in proposed}] if self.momentum else [])

    def lengths(self, model: QuadraticModel) -> list[TensorVariable]:
        return model.minimiser_with_momentum() if self.momentum else model.minimiser()
