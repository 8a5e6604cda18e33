"""The warning about a loss without curvature in its output: when it is compiled, or first run."""

from __future__ import annotations

import warnings

import numpy as np

from kfgn_graph.errors import ZeroCurvatureWarning
from kfgn_graph.heads import find_head, is_flat
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.printing import name_of
from kfgn_graph.update.stats import UpdateStats

_EFFECT = (
    "Updates follow the gradient alone, with lambda from its norm. Pass "
    'surrogate="majoriser", which takes 1 / max(|u|, delta) as the curvature of |u| '
    "(kfgn_graph.Majoriser), for a loss with kinks, such as an absolute, quantile or hinge loss"
)


def warn_if_flat(graph: LayerGraph) -> None:
    """Warn if the graph of a loss shows that it has no curvature, and no surrogate is given."""
    if is_flat(find_head(graph)):
        warnings.warn(
            f"the loss is piecewise linear in {name_of(graph.output)}, where it is split from the "
            f"network: its Hessian is zero. {_EFFECT}.",
            ZeroCurvatureWarning,
            stacklevel=3,
        )


class FirstUpdate:
    """Warns if the first update that is taken finds no curvature.

    Its statistics are read at once, which waits for that update alone.

    Parameters
    ----------
    graph : LayerGraph
        The network; one that :func:`warn_if_flat` warns about is not warned about again.
    """

    def __init__(self, graph: LayerGraph) -> None:
        self._name = name_of(graph.output)
        self._waiting = not is_flat(find_head(graph))

    def check(self, stats: UpdateStats) -> None:
        """Read the statistics of an update, or of several, if none has been taken before."""
        if not self._waiting:
            return
        taken = ~np.atleast_1d(np.asarray(stats.skipped))
        if not taken.any():
            return
        self._waiting = False
        if np.atleast_1d(np.asarray(stats.flat))[np.argmax(taken)]:
            warnings.warn(
                f"the first update finds no curvature of the loss in {self._name}: it is zero, "
                f"or negative and set to zero. {_EFFECT}, or "
                'surrogate="absolute" for weights of negative sign or a loss that is not convex; '
                "or begin nearer to the targets.",
                ZeroCurvatureWarning,
                stacklevel=3,
            )
