"""The entry point for recognition: :func:`trace_layers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import ancestors, explicit_graph_inputs
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import ParameterError
from kfgn_graph.heads import Surrogate, split_at_head, surrogate_of, with_curvature
from kfgn_graph.layers.batch_inputs import inputs_without_examples
from kfgn_graph.layers.checking import listed
from kfgn_graph.layers.draws import Draw, without_draws
from kfgn_graph.layers.functions_of_sums import at_current_values
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.layers.recognition import recognise
from kfgn_graph.layers.statistics import differentiated, held_within
from kfgn_graph.layers.subsample import Leading, leading_examples
from kfgn_graph.linalg.accumulation import marked
from kfgn_graph.printing import printable

Updates = Mapping[SharedVariable, Variable]
#: From draws and next values to the same over other generators.
Generators = Callable[[Sequence[TensorVariable], Updates], tuple[list[TensorVariable], Updates]]


@dataclass(frozen=True, eq=False)
class Source:
    """A network as the user describes it: the arguments of :func:`trace_layers`.

    Attributes
    ----------
    draws : mapping
        The inputs that stand for random draws, each with its draw; see :meth:`without_draws`.
    updates : mapping
        The next value of each shared variable that changes by itself, as a function of the draws.
    """

    loss: TensorVariable
    params: Sequence[TensorSharedVariable]
    output: TensorVariable | None
    unmatched: str
    surrogate: str | Surrogate | None = None
    batch_statistics: str = "error"
    draws: Mapping[TensorVariable, Draw] = field(default_factory=dict)
    updates: Updates = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", listed(self.params, "params", ParameterError))

    def graph(self) -> LayerGraph:
        """Return the recognised graph."""
        return trace_layers(
            self.loss,
            self.params,
            self.output,
            self.unmatched,
            self.surrogate,
            self.batch_statistics,
        )

    @property
    def _targets(self) -> list[TensorVariable]:
        return [self.loss] if self.output is None else [self.loss, self.output]

    @property
    def outputs(self) -> list[Variable]:
        """The loss, its output if that is given, the draws, and the next values."""
        values = [draw.value for draw in self.draws.values()]
        return [*self._targets, *values, *self.updates.values()]

    def without_draws(self) -> Source:
        """Return the same with its random draws replaced by inputs; itself if they are already.

        Arguments that are no variables are left for :meth:`graph` to refuse.
        """
        symbolic = all(isinstance(v, Variable) for v in (*self._targets, *self.params))
        if self.draws or self.updates or not symbolic:
            return self
        found = without_draws(self._targets, self.params)
        return self._with(found.targets, found.draws, found.updates)

    def replaced(self, replacements: Mapping[Variable, Variable]) -> Source:
        """Return the same over other inputs and parameters, whose shapes may be known better."""
        found = clone_replace(self.outputs, dict(replacements), rebuild_strict=False)
        for v in ancestors(found):
            if v.owner is not None:
                v.name = printable(v.name)
        copies = iter(found)
        targets = [next(copies) for _ in self._targets]
        draws = {v: replace(draw, value=next(copies)) for v, draw in self.draws.items()}
        keys = [replacements.get(v, v) for v in self.updates]
        updates = dict(zip(keys, copies, strict=True))
        params = [replacements.get(p, p) for p in self.params]
        return replace(self._with(targets, draws, updates), params=params)

    def with_generators(self, generators: Generators) -> Source:
        """Return the same over a backend's own representation of random generators."""
        values, updates = generators([d.value for d in self.draws.values()], self.updates)
        pairs = zip(self.draws.items(), values, strict=True)
        draws = {v: replace(draw, value=value) for (v, draw), value in pairs}
        return self._with(self._targets, draws, updates)

    def _with(
        self,
        targets: Sequence[TensorVariable],
        draws: Mapping[TensorVariable, Draw],
        updates: Updates,
    ) -> Source:
        loss, *outputs = targets
        output = outputs[0] if outputs else None
        return replace(self, loss=loss, output=output, draws=draws, updates=updates)

    def leading(self, graph: LayerGraph, count: int) -> Leading | None:
        """Return the network on the first ``count`` examples; see :func:`leading_examples`."""
        if any(draw.rows == "unknown" for draw in self.draws.values()):
            return None
        shared = [v for v, draw in self.draws.items() if draw.rows == "shared"]
        shared += inputs_without_examples(self._targets, explicit_graph_inputs(self._targets))
        return leading_examples(
            graph, self.loss, self.params, self.output, self.unmatched, count, shared
        )


def trace_layers(
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    output: TensorVariable | None = None,
    unmatched: str = "error",
    surrogate: str | Surrogate | None = None,
    batch_statistics: str = "error",
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
        What to do with a parameter that is not the weight or bias of exactly one affine map.
        With 'error' each example reads a copy of it, which gives its exact block; if it has more
        than 2,048 entries or cannot be copied, the diagonal of the Gauss-Newton matrix is
        estimated (``LayerGraph.diagonal``); a parameter that meets no value of the examples
        raises an error. 'gradient' trains all such parameters by plain gradient steps, and
        'freeze' leaves them unchanged.
    batch_statistics : {'error', 'hold'}
        What to do with statistics of the batch that the network reads, such as the mean and the
        variance of batch normalisation: raise an error, or hold them constant in the curvature.
        The loss and its gradient, which differentiates through them, are the same for both.
    surrogate : {'majoriser', 'absolute'} or Surrogate, optional
        A positive semi-definite matrix in place of the Hessian of the loss in its output: that of
        a quadratic majoriser, for a loss with kinks such as an absolute error
        (:class:`Majoriser`), or the Hessian with the absolute values of its eigenvalues, for
        weights of either sign (:class:`AbsoluteCurvature`). By default it is the Hessian with
        negative eigenvalues set to zero.

    Returns
    -------
    LayerGraph
        The graph over the user's own inputs and parameters, which are not changed.

    Raises
    ------
    ParameterError
        If a parameter is not a shared real tensor variable, or not in the graph of the loss.
    UnmatchedParameterError
        If no curvature of a parameter can be computed and ``unmatched`` is 'error'.
    NotABatchLossError
        If the loss is not a scalar, or may mix examples.
    CurvatureRuleNotFound
        If no variable splits the loss from the network, or the loss is linear in the one that
        does.
    SpecError
        If an option has a value that is not allowed, or the loss has no kink to majorise.
    """
    chosen = surrogate_of(surrogate)
    params = listed(params, "params", ParameterError)
    graph = recognise(loss, params, output, unmatched, batch_statistics)
    held, graph = graph.held, replace(graph, held={})
    for v in (graph.loss, *graph.example_axes):
        if v.owner is not None:
            marked(v)
    split = split_at_head(graph) if output is None else with_curvature(graph)
    split = _differentiated(split)
    whole = at_current_values(split.loss, held)
    return replace(split, loss=whole, surrogate=chosen, held=held)


def _differentiated(graph: LayerGraph) -> LayerGraph:
    """Return the graph with the loss whose gradient flows through statistics that are held."""
    found = tuple(held_within([graph.data_loss]))
    return replace(graph, loss=differentiated(graph.loss), statistics=found) if found else graph
