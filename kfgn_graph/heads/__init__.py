"""Loss heads: a loss as a function of the network's output, with its Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.bernoulli import BernoulliHead
from kfgn_graph.heads.core import Head
from kfgn_graph.heads.diagonal import DiagonalHead
from kfgn_graph.heads.elementwise import match_elementwise
from kfgn_graph.heads.generic import GenericHead
from kfgn_graph.heads.linearity import is_linear
from kfgn_graph.heads.softmax import SoftmaxHead, match_softmax
from kfgn_graph.heads.squared_error import SquaredErrorHead
from kfgn_graph.layers.graph import LayerGraph

__all__ = [
    "BernoulliHead",
    "DiagonalHead",
    "GenericHead",
    "Head",
    "SoftmaxHead",
    "SquaredErrorHead",
    "find_head",
    "register_loss_head",
    "split_at_head",
]

Matcher = Callable[[TensorVariable, TensorVariable, int], Head | None]

_matchers: list[Matcher] = [match_elementwise, match_softmax]


def register_loss_head(matcher: Matcher) -> Matcher:
    """Register a matcher, which recognises a loss; used as a decorator.

    Parameters
    ----------
    matcher : callable
        ``matcher(loss, z, example_axes)`` receives the scalar data loss, a candidate output z
        and the number of example axes of z. It returns a :class:`Head` if it recognises the
        loss as a function of z, else None. The matcher registered last is tried first.

    Returns
    -------
    callable
        ``matcher`` itself.
    """
    _matchers.insert(0, matcher)
    return matcher


def find_head(graph: LayerGraph) -> Head:
    """Return the head of the data loss at ``graph.output``: generic if no matcher applies."""
    z, axes = graph.output, graph.example_axes[graph.output]
    for matcher in _matchers:
        head = matcher(graph.data_loss, z, axes)
        if head is not None:
            return head
    return GenericHead(z, axes, graph.data_loss)


def split_at_head(graph: LayerGraph) -> LayerGraph:
    """Return ``graph`` split at the candidate where its loss has a closed form.

    If several candidates qualify, the one nearest to the network is the output: a squared error
    of ``tanh(h)`` is split at ``tanh(h)``, a cross-entropy of ``sigmoid(h)`` at the logits
    ``h``. If none qualifies, the output is the candidate farthest from the network in which the
    loss is nonlinear.
    """
    splits = [replace(graph, output=candidate) for candidate in graph.candidates]
    for split in splits:
        if find_head(split).distribution is not None:
            return split
    curved = [split for split in splits if not is_linear(graph.data_loss, [split.output])]
    return curved[-1] if curved else graph
