"""The state before the first update."""

from __future__ import annotations

import numpy as np

from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.step.preconditioners import preconditioner_of
from kfgn_graph.step.reduction_ratio import watch_state
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import State, zero_vector


def new_state(graph: LayerGraph, settings: Settings) -> State:
    """Return the state before the first update.

    ``count`` is the number of accepted updates. ``failed`` is 1 after a batch that is not finite,
    2 after another update that was rejected or skipped, and 0 otherwise. ``damping`` and
    ``gamma`` are kept where they adapt, ``draws`` (the counter of the random draws) where the
    method or the estimate of a diagonal draws, ``previous/<parameter>`` (the last update) where it
    is a direction, and ``averages/<parameter>`` where iterates are averaged. ``watch`` and
    ``length`` are those of :func:`watch_state`; the preconditioner adds its own.
    """
    method, dtype = settings.method, graph.loss.type.dtype
    number = np.asarray(0, dtype)  # until the first update sets it
    initial = {"count": np.asarray(np.int32(0)), "failed": np.asarray(np.int32(0))}
    initial |= watch_state(settings, dtype)
    if method.random or (method.factored and graph.diagonal):
        initial["draws"] = np.asarray(np.uint32(settings.seed))
    if settings.damping.adaptive:
        initial["damping"] = number
    if settings.damping.searched:
        initial["gamma"] = number
    initial |= preconditioner_of(method).initial_state(graph, settings)
    if settings.step_rule.momentum:
        initial |= zero_vector("previous", graph)
    if settings.average_iterates:
        initial |= zero_vector("averages", graph)
    return State(graph, initial)
