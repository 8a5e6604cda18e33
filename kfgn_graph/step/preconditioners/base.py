"""What every way of proposing a direction offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pytensor.tensor.variable import TensorVariable

from kfgn_graph.linalg.vectors import Scalars, Values


class Proposal(ABC):
    """What turns a gradient into a direction.

    Attributes
    ----------
    kept : Values
        New values of its state, for an update that is taken.
    learnt : Values
        New values of its state, the old ones where the new are not finite: what was learnt of
        the curvature stays, whether the update is taken or not.
    sound : boolean scalar TensorVariable
        Whether all that the proposal is made from is finite.
    mean_curvature : scalar TensorVariable
        The mean eigenvalue of the curvature, which bounds lambda from below.
    greatest_block : scalar TensorVariable
        The greatest mean eigenvalue of one layer's block.
    """

    kept: Values
    learnt: Values
    sound: TensorVariable
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
