"""The interface of a preconditioner, and the dispatcher from a method to its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.curvature.methods.base import Method
from kfgn_graph.errors import SpecError
from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.linalg.vectors import Scalars, Values
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import State


@dataclass(frozen=True, eq=False)
class Context:
    """The update that a preconditioner is part of.

    Attributes
    ----------
    graph : LayerGraph
        The network.
    head : Head
        The loss head at its output.
    settings : Settings
        The settings of the update.
    state : State
        The variables that persist.
    count : scalar int32 TensorVariable
        The number of this update, from 1.
    sound : scalar bool TensorVariable
        Whether the loss and the gradient are finite.
    """

    graph: LayerGraph
    head: Head
    settings: Settings
    state: State
    count: TensorVariable
    sound: TensorVariable


class Preconditioner(ABC):
    """A map from the gradient to a descent direction.

    Parameters
    ----------
    context : Context
        The update that it is part of.

    Attributes
    ----------
    kept : Values
        New values of its state, stored only if the update is accepted.
    learnt : Values
        New values of its state that are stored whether the update is accepted or not, such as
        averages of the curvature. A value that is not finite must be replaced by the old one.
    sound : scalar bool TensorVariable
        Whether everything that the direction is computed from is finite.
    mean_curvature : scalar TensorVariable
        The mean eigenvalue of the curvature, from which a damping rule can bound lambda.
    greatest_block : scalar TensorVariable
        The greatest mean eigenvalue of a layer's block, from which the least lambda follows at
        which Cholesky factorisations succeed in the dtype; 0 if nothing is factorised.
    bounding_curvature : scalar TensorVariable, optional
        The curvature by which a damping rule bounds lambda, if it is not ``mean_curvature``.
    least_damping : scalar TensorVariable, optional
        The least lambda at which the system can be solved in the dtype, if it does not follow from
        ``greatest_block``.
    """

    kept: Values
    learnt: Values
    sound: TensorVariable
    mean_curvature: TensorVariable
    greatest_block: TensorVariable
    bounding_curvature: TensorVariable | None = None
    least_damping: TensorVariable | None = None

    def __init__(self, context: Context) -> None:
        self.context = context
        self.kept, self.learnt, self.sound = {}, {}, context.sound

    @classmethod
    def initial_state(cls, graph: LayerGraph, settings: Settings) -> dict[str, np.ndarray]:
        """Return what it keeps between updates: values before the first, by unique names.

        ``<kind>/<layer.key>/<part>`` and ``<kind>/<parameter>`` are the names that
        :meth:`State.of_layer` and :meth:`State.vector` find again; :func:`zero_vector` makes the
        latter.
        """
        return {}

    @classmethod
    def most_outputs(cls, settings: Settings) -> int | None:
        """Return the largest number of outputs of a batch, over all examples; None for any."""
        return None

    @classmethod
    def table(
        cls, graph: LayerGraph, settings: Settings
    ) -> tuple[list[tuple[str, ...]], list[str]] | None:
        """Return the table of layers of :meth:`Update.explain`; None for that of factors.

        Returns
        -------
        tuple or None
            The rows, the headings first, and the lines below them.
        """
        return None

    @classmethod
    def summary(cls, settings: Settings) -> str:
        """Return a line for :meth:`Update.explain`: what is computed, and how often."""
        return f"preconditioner: {cls.__name__}"

    @abstractmethod
    def direction(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        """Return a descent direction, and set ``kept``, ``learnt`` and ``sound``.

        Parameters
        ----------
        gradient : Values
            The gradient of all parameters that move.
        shifts : Scalars
            lambda + eta of each parameter.
        gamma : scalar TensorVariable
            Damps the factors of methods that have them.
        """

    def trial(self, gradient: Values, shifts: Scalars, gamma: TensorVariable) -> Values:
        """Return the direction for another gamma, with fresh inverses; no state is set.

        Only methods that are ``factored`` need it, for ``gamma='search'``.
        """
        raise SpecError(f"{type(self).__name__} has no gamma to search.")


@singledispatch
def preconditioner_of(method: Method) -> type[Preconditioner]:
    """Return the preconditioner that a method trains with.

    Raises
    ------
    SpecError
        If none is registered for the method.
    """
    raise SpecError(
        f"method={method!r} has no preconditioner to train with: use KFRA(), KFLR(), KFAC() or "
        "HessianFree(), or register one with kfgn_graph.extend.register_preconditioner. The exact "
        "blocks are for curvature_factors."
    )


def register_preconditioner[P: type[Preconditioner]](
    method_type: type,
) -> Callable[[P], P]:
    """Register the preconditioner of a curvature method; used as a class decorator.

    Parameters
    ----------
    method_type : type
        The class of the method; its subclasses get the same preconditioner.

    Returns
    -------
    callable
        A decorator for a subclass of :class:`Preconditioner`.
    """

    def register(preconditioner: P) -> P:
        preconditioner_of.register(method_type, lambda method: preconditioner)
        return preconditioner

    return register
