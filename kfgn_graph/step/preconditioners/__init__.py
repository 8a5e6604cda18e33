"""From the gradient to a proposed direction: what the methods do with their curvature."""

from __future__ import annotations

from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads import Head
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.step.hessian_free import HessianFree
from kfgn_graph.step.preconditioners.base import Proposal
from kfgn_graph.step.preconditioners.hessian_free import HessianFreeProposal
from kfgn_graph.step.preconditioners.kronecker import KroneckerProposal, search_due
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import State


def proposal_of(
    graph: LayerGraph,
    head: Head,
    settings: Settings,
    state: State,
    count: TensorVariable,
    sound: TensorVariable,
) -> Proposal:
    """Return the proposal that the settings' method makes.

    Parameters
    ----------
    graph, head, settings, state
        Of the update.
    count : scalar integer TensorVariable
        The number of the update, from 1.
    sound : boolean scalar TensorVariable
        Whether the loss and the gradient are finite.
    """
    free = isinstance(settings.method, HessianFree)
    return (HessianFreeProposal if free else KroneckerProposal)(
        graph, head, settings, state, count, sound
    )


__all__ = ["Proposal", "proposal_of", "search_due"]
