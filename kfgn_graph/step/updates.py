"""One update as a PyTensor updates dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.replace import graph_replace
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads import Surrogate
from kfgn_graph.layers.derivatives import defined_derivatives
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.linalg.accumulation import marked
from kfgn_graph.step.builder import Step, build_step
from kfgn_graph.step.initial_state import new_state
from kfgn_graph.step.preconditioners import preconditioner_of
from kfgn_graph.step.settings import SettingNames, Settings, settings_from, takes_settings
from kfgn_graph.step.state import State
from kfgn_graph.tracing import Source


@takes_settings
def kfgn_updates(
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    *,
    output: TensorVariable | None = None,
    unmatched: str = "error",
    surrogate: str | Surrogate | None = None,
    batch_statistics: str = "error",
    **settings: Unpack[SettingNames],
) -> dict[SharedVariable, TensorVariable]:
    r"""Return one update as a PyTensor updates dictionary.

    Parameters
    ----------
    loss : scalar TensorVariable
        See :func:`trace_layers`.
    params : sequence of shared variables
        The parameters to train. The sizes of the factors are those of their current values.
    output, unmatched, surrogate, batch_statistics
        See :func:`trace_layers`.
    **settings

    Returns
    -------
    dict
        New values of the parameters and of the state, keyed by shared variable, for
        :func:`pytensor.function`. A step that is not finite leaves the parameters as they are. The
        next states of the random generators that the loss draws from are included, and so are the
        default updates of its shared variables.

    Raises
    ------
    KfgnError
        As :func:`trace_layers`; SpecError for a setting that is not allowed.

    See Also
    --------
    Settings : the keyword arguments from ``method`` on, as one object.
    """
    chosen = settings_from(settings, kfgn_updates)
    preconditioner_of(chosen.method)  # refuses a method that cannot train
    source = Source(loss, params, output, unmatched, surrogate, batch_statistics).without_draws()
    graph = source.graph()
    chosen = chosen.for_graph(graph)
    state = new_state(graph, chosen)
    marked(state["count"])  # which every function of this update reads
    return step_of(source, graph, chosen, state).updates


@defined_derivatives()
def step_of(source: Source, graph: LayerGraph, settings: Settings, state: State) -> Step:
    """Return one update, symbolically.

    Parameters
    ----------
    source : Source
        The loss.
    graph : LayerGraph
        The layers that were found in it.
    settings : Settings
        How the update is computed.
    state : State
        The variables that persist.
    """
    examples = settings.step_rule.examples
    leading = None if examples is None else source.leading(graph, examples)
    return completed(build_step(graph, settings, state, leading), source)


def completed(step: Step, source: Source) -> Step:
    """Return a step with its random draws, and the updates of the loss's own shared variables.

    These are made in every update, rejected ones included, as in :func:`pytensor.function`. Only
    real-valued variables keep their values if the update is skipped, since their new values may
    not be finite.
    """
    if not source.draws and not source.updates:
        return step
    skipped, updates = step.statistics["skipped"], dict(step.updates)
    for v, value in source.updates.items():
        real = getattr(v.type, "dtype", "").startswith("float")
        updates.setdefault(v, pt.switch(skipped, v, value).astype(v.type.dtype) if real else value)
    drawn = {v: draw.value for v, draw in source.draws.items()}
    results = iter(
        graph_replace([*updates.values(), *step.statistics.values()], drawn, strict=False)
    )
    new = {v: next(results) for v in updates}
    return Step(new, dict(zip(step.statistics, results, strict=True)))
