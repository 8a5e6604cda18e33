"""Step rules: how far an update goes along the preconditioned gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.arguments import positive_count
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
        if not np.isfinite(self.length):
            raise SpecError(f"step={self.length} must be a finite number or Rescaling().")

    def lengths(self, model: QuadraticModel) -> list[TensorVariable]:
        return [pt.constant(np.asarray(self.length, model.slopes[0].type.dtype))]


@dataclass(frozen=True)
class Rescaling(StepRule):
    r"""Step lengths from the quadratic model, :math:`\delta = \alpha \Delta + \mu \delta_0`.

    Parameters
    ----------
    momentum : bool
        Whether the previous update :math:`\delta_0` is a direction beside the preconditioned
        gradient :math:`\Delta`; else :math:`\mu = 0`. :math:`\mu` is kept within 0 and 1: beyond,
        the model uses :math:`\delta_0` to fit the batch, and the updates grow from one to the
        next.
    groups : int
        Into how many groups of consecutive layers :math:`\Delta` is divided, each with a step
        length of its own (at most as many as there are layers). Early and late layers differ
        in how far they can go.
    reject_below : float, optional
        An update whose reduction ratio on its own batch is below this is not taken: all stays
        as it was, but what was learnt of the curvature and lambda, which is raised. None takes
        every update, and so does a constant damping, which could not be raised.
    watch : int, optional
        The ratio costs a forward pass. It is measured where lambda adapts, and besides, until the
        model is trusted, at each of so many updates from the start and from every one that is
        rejected or has a ratio that is not above the damping rule's ``upper``; and where the
        update is longer than 1.5 times the last. None measures it at every update: choose it for
        a loss that is not finite everywhere.
    examples : int, optional
        The model's curvature is that of so many examples at the batch's beginning at most, which
        saves most of its cost for large batches and presumes that examples come in random order;
        its gradient is that of all. None takes all, as does a graph that holds the batch itself
        as constant data.
    """

    momentum: bool = True
    groups: int = 2
    reject_below: float | None = 0.25
    watch: int | None = 50
    examples: int | None = 250

    def __post_init__(self) -> None:
        positive_count("groups", self.groups)
        if self.watch is not None:
            positive_count("watch", self.watch)
        if self.examples is not None:
            positive_count("examples", self.examples)

    def directions(self, graph: LayerGraph, proposed: Values, previous: Values) -> list[Values]:
        layers = graph.layers
        n = min(self.groups, len(layers))
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
