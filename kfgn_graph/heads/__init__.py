"""Loss heads: a loss as a function of the network's output, with its Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import CurvatureRuleNotFound, SpecError
from kfgn_graph.heads.bernoulli import BernoulliHead
from kfgn_graph.heads.core import Head
from kfgn_graph.heads.diagonal import DiagonalHead
from kfgn_graph.heads.elementwise import match_elementwise
from kfgn_graph.heads.generic import GenericHead
from kfgn_graph.heads.joint import JointHead, match_joint
from kfgn_graph.heads.linearity import Dependence, dependence, is_linear
from kfgn_graph.heads.softmax import SoftmaxHead, match_softmax
from kfgn_graph.heads.squared_error import SquaredErrorHead
from kfgn_graph.heads.surrogates import (
    AbsoluteCurvature,
    Majoriser,
    Surrogate,
    at_values,
    is_flat,
    surrogate_of,
)
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.layers.recognition import read_with_data, split_jointly
from kfgn_graph.printing import name_of

__all__ = [
    "AbsoluteCurvature",
    "BernoulliHead",
    "DiagonalHead",
    "GenericHead",
    "Head",
    "JointHead",
    "Majoriser",
    "SoftmaxHead",
    "SquaredErrorHead",
    "Surrogate",
    "find_head",
    "is_flat",
    "register_loss_head",
    "split_at_head",
    "surrogate_of",
    "with_curvature",
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

    Raises
    ------
    SpecError
        If ``matcher`` is not callable.
    """
    if not callable(matcher):
        raise SpecError(f"a matcher of loss heads must be a function, not {matcher!r}.")
    _matchers.insert(0, matcher)
    return matcher


def find_head(graph: LayerGraph) -> Head:
    """Return the head of the data loss at ``graph.output``: generic if no matcher applies.

    It has the curvature of the graph's surrogate, if there is one.
    """
    head = _head_at(graph.data_loss, graph.output, graph.example_axes[graph.output])
    if graph.surrogate is not None:
        head = graph.surrogate.head(head, _head_at)
    if not graph.held:
        return head
    return at_values(head, graph.held)


def _head_at(loss: TensorVariable, z: TensorVariable, example_axes: int) -> Head:
    for matcher in _matchers:
        head = matcher(loss, z, example_axes)
        if isinstance(head, Head):
            return head
        if head is not None:
            raise SpecError(f"the matcher {matcher!r} returned {head!r}, which is no Head.")
    joint = match_joint(loss, z, example_axes, _head_at)
    return joint or GenericHead(z, example_axes, loss)


def split_at_head(graph: LayerGraph) -> LayerGraph:
    """Return ``graph`` split at the variable where its loss has a closed form, or is curved.

    If several candidates qualify, the one nearest to the network is the output: a squared error
    of ``tanh(h)`` is split at ``tanh(h)``, a cross-entropy of ``sigmoid(h)`` at the logits
    ``h``. If none qualifies, the output is the candidate farthest from the network in which the
    loss is nonlinear. Where the only candidates are the losses of the examples, the output is
    the joint output of the affine maps that the loss reads.

    Raises
    ------
    CurvatureRuleNotFound
        If the loss is linear in every candidate and in the joint output.
    """
    splits = [replace(graph, output=candidate) for candidate in graph.candidates]
    for split in splits:
        if find_head(split).distribution is not None:
            return split
    classes = [(dependence(graph.data_loss, [split.output]), split) for split in splits]
    curved = [split for found, split in classes if found is Dependence.CURVED]
    if curved and not _is_at_examples_loss(graph):
        return curved[-1]
    joint = split_jointly(graph)
    if joint is not None and not is_linear(joint.data_loss, [joint.output]):
        return joint
    bent = [split for found, split in classes if found is not Dependence.LINEAR]
    return (curved or bent)[-1] if bent else with_curvature(graph)


def _is_at_examples_loss(graph: LayerGraph) -> bool:
    """Return whether the candidate nearest to the network is the loss of an example, or a part.

    It combines several affine maps with data, and not linearly as a skip connection does.
    """
    exposed = read_with_data(graph)
    return bool(exposed) and not is_linear(graph.candidates[0], exposed)


def with_curvature(graph: LayerGraph) -> LayerGraph:
    """Return ``graph``, or raise :class:`CurvatureRuleNotFound` if its loss is linear in z."""
    if is_linear(graph.data_loss, [graph.output]):
        raise CurvatureRuleNotFound(
            f"the loss is linear in {name_of(graph.output)}, where it is split from the network, "
            "so that it has no curvature there. Pass as output= a variable in which it is "
            "curved, such as the concatenation of all outputs of the network."
        )
    return graph
