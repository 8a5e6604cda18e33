"""One update as a PyTensor updates dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import SpecError
from kfgn_graph.step.builder import build_step
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import State
from kfgn_graph.tracing import Source


def kfgn_updates(
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    *,
    output: TensorVariable | None = None,
    unmatched: str = "error",
    **settings: Any,
) -> dict[SharedVariable, TensorVariable]:
    """Return one update as a PyTensor updates dictionary.

    Parameters
    ----------
    loss : scalar TensorVariable
        See :func:`trace_layers`.
    params : sequence of shared variables
        The parameters to train; the current shapes of their values are those of the factors.
    output, unmatched
        See :func:`trace_layers`.
    **settings
        ``method``, ``damping``, ``step``, ``l2``, ``curvature_decay``, ``factors_every``,
        ``refresh_every``, ``inverse``, ``average_iterates`` and ``seed``, as for
        :func:`compile_update`.

    Returns
    -------
    dict
        New values of the parameters and of the state, keyed by shared variable, to be given
        to :func:`pytensor.function`. A step that is not finite leaves all as it is.

    Raises
    ------
    KfgnError
        As :func:`trace_layers`; SpecError for a setting that is not allowed.
    """
    unknown = sorted(set(settings) - set(Settings.__dataclass_fields__))
    if unknown:
        known = sorted(Settings.__dataclass_fields__)
        raise SpecError(f"unknown settings {unknown}; known are {known}.")
    chosen = Settings(**settings)
    source = Source(loss, params, output, unmatched)
    graph = source.graph()
    return build_step(source, graph, chosen, State(graph, chosen)).updates
