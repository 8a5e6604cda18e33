"""The entry point for recognition: :func:`trace_layers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads import split_at_head, with_curvature
from kfgn_graph.layers.graph import LayerGraph, recognise
from kfgn_graph.layers.subsample import Leading, leading_examples
from kfgn_graph.linalg.accumulation import marked


@dataclass(frozen=True, eq=False)
class Source:
    """A network as the user describes it: the arguments of :func:`trace_layers`."""

    loss: TensorVariable
    params: Sequence[TensorSharedVariable]
    output: TensorVariable | None
    unmatched: str

    def graph(self) -> LayerGraph:
        """Return the recognised graph."""
        return trace_layers(self.loss, self.params, self.output, self.unmatched)

    def replaced(self, replacements: Mapping[Variable, Variable]) -> Source:
        """Return the same over other inputs and parameters, whose shapes may be known better."""
        targets = [self.loss] if self.output is None else [self.loss, self.output]
        copies = clone_replace(targets, dict(replacements), rebuild_strict=False)
        return Source(
            copies[0],
            [replacements.get(p, p) for p in self.params],
            None if self.output is None else copies[1],
            self.unmatched,
        )

    def leading(self, graph: LayerGraph, count: int) -> Leading | None:
        """Return the network on the first ``count`` examples; see :func:`leading_examples`."""
        return leading_examples(graph, self.loss, self.params, self.output, self.unmatched, count)


def trace_layers(
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    output: TensorVariable | None = None,
    unmatched: str = "error",
) -> LayerGraph:
    """Recognise the affine layers of a loss and verify that they cover every parameter.

    Parameters
    ----------
    loss : scalar TensorVariable
        A sum or mean over the examples of terms that each read one example, plus terms that
        depend on parameters alone (penalties, log priors). Examples are along the leading axis.
    params : sequence of shared variables
        The parameters to train.
    output : TensorVariable, optional
        The variable at which the loss is split from the network. By default it is the variable
        nearest to the network at which the loss has a closed form (squared error, Bernoulli or
        softmax cross-entropy), or else the last variable that depends on the network alone and
        in which the loss is nonlinear, or else the concatenation of all affine maps that the loss
        reads.
    unmatched : {'error', 'gradient', 'freeze'}
        What to do with a parameter that is not the weight or bias of exactly one affine map:
        raise an error, train it by plain gradient steps, or leave it unchanged.

    Returns
    -------
    LayerGraph
        The graph over the user's own inputs and parameters, which are not changed.

    Raises
    ------
    ParameterError
        If a parameter is not a shared real tensor variable, or not in the graph of the loss.
    UnmatchedParameterError
        If a use of a parameter is not recognised and ``unmatched`` is 'error'.
    NotABatchLossError
        If the loss is not a scalar, or may mix examples.
    CurvatureRuleNotFound
        If no variable splits the loss from the network, or the loss is linear in the one that
        does.
    """
    graph = recognise(loss, params, output, unmatched)
    for v in (graph.loss, *graph.example_axes):
        if v.owner is not None:
            marked(v)
    return split_at_head(graph) if output is None else with_curvature(graph)
