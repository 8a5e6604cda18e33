"""Recognition of a loss: its layers, its penalty and its candidate outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, explicit_graph_inputs, toposort
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import (
    CurvatureRuleNotFound,
    KfgnError,
    NotABatchLossError,
    SpecError,
    UnmatchedParameterError,
)
from kfgn_graph.layers.candidates import find_candidates
from kfgn_graph.layers.checking import check_gradients, check_loss, check_parameters
from kfgn_graph.layers.copies import (
    LARGEST,
    NotCopied,
    most_axes,
    too_large,
    with_copies,
    with_plain_products,
)
from kfgn_graph.layers.diagonal import diagonal_parameters, meeting_examples, without_layers_of
from kfgn_graph.layers.dtypes import has_axes
from kfgn_graph.layers.entries import Entry, functions_of_parameters
from kfgn_graph.layers.examples import count_example_axes
from kfgn_graph.layers.exchange import with_opened_loops
from kfgn_graph.layers.flattening import with_unflattened_rows
from kfgn_graph.layers.functions_of_sums import with_held_factors
from kfgn_graph.layers.graph import DiagonalParameter, Layer, LayerGraph, preactivations
from kfgn_graph.layers.grouping import check_bias, layers_of
from kfgn_graph.layers.ir import Affine, network_output
from kfgn_graph.layers.joint import exposed_outputs, reads_examples, with_joint_output
from kfgn_graph.layers.lookups import is_large, with_lookups
from kfgn_graph.layers.order import in_forward_order
from kfgn_graph.layers.penalty_terms import split_penalty
from kfgn_graph.layers.rewriting import rewrite_to_layers
from kfgn_graph.layers.rows import rows_are_examples
from kfgn_graph.layers.statistics import (
    check_treatment,
    refuse_statistics,
    with_held_statistics,
)
from kfgn_graph.layers.term_outputs import term_outputs
from kfgn_graph.layers.tied import covered, find_tied, with_separate_biases
from kfgn_graph.layers.traversal import dependents, value_nodes, value_roots
from kfgn_graph.layers.verification import check_movable, find_unmatched, raise_unmatched
from kfgn_graph.printing import describe, names
from kfgn_graph.shared_values import value_shape

UNMATCHED_TREATMENTS = ("error", "gradient", "freeze")


def recognise(
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    output: TensorVariable | None = None,
    unmatched: str = "error",
    batch_statistics: str = "error",
) -> LayerGraph:
    """Recognise the layers of ``loss`` and verify that they cover every parameter.

    Without ``output``, the returned graph is split at the candidate nearest to the network.
    Its loss reads the variables ``held``. See :func:`kfgn_graph.trace_layers` for the parameters
    and errors.
    """
    if unmatched not in UNMATCHED_TREATMENTS:
        raise SpecError(f"unmatched={unmatched!r} is not one of {UNMATCHED_TREATMENTS}.")
    check_treatment(batch_statistics)
    check_loss(loss)
    dtype = check_parameters(loss, params)
    check_gradients(loss, params)
    rewritten = rewrite_to_layers([_marked(loss, output)], params, dtype)[0]
    rewritten = with_lookups(rewritten, params)
    rewritten = with_opened_loops(rewritten, params, dtype, unmatched == "error")
    if batch_statistics == "hold":
        rewritten = with_held_statistics(rewritten, params)
    rewritten, held = with_held_factors(rewritten, params)
    try:
        graph = _recognised_by_rows(rewritten, params, output, unmatched)
        return replace(graph, held=held)
    except (UnmatchedParameterError, NotABatchLossError):
        if batch_statistics == "error":
            refuse_statistics(rewritten, params)
        raise


def _recognised_by_rows(
    rewritten: TensorVariable,
    params: Sequence[TensorSharedVariable],
    output: TensorVariable | None,
    unmatched: str,
) -> LayerGraph:
    """Recognise a loss; restore flattened axes if it is needed, or joins biases to weights.

    Whether an axis has to be restored can depend on which lengths are known. The layers must not.
    """
    try:
        graph = _recognised(rewritten, params, output, unmatched)
        return _with_fewer_layers(graph, rewritten, output) or graph
    except NotABatchLossError:
        restored = with_unflattened_rows(rewritten, params)
        if restored is None:
            raise
        with suppress(KfgnError):
            return _recognised(restored, params, output, unmatched)
        raise


def _with_fewer_layers(
    graph: LayerGraph, rewritten: TensorVariable, output: TensorVariable | None
) -> LayerGraph | None:
    """Return the graph with flattened axes restored if it has fewer layers, else None."""
    if not any(layer.copies for layer in graph.layers):
        return None
    restored = with_unflattened_rows(rewritten, graph.parameters)
    if restored is None:
        return None
    with suppress(KfgnError):
        other = _recognised(restored, graph.parameters, output, graph.unmatched_treatment)
        return other if len(other.layers) < len(graph.layers) else None
    return None


def _recognised(
    rewritten: TensorVariable,
    params: Sequence[TensorSharedVariable],
    output: TensorVariable | None,
    unmatched: str,
) -> LayerGraph:
    graph = None
    if unmatched == "error":
        graph = _with_several_uses(rewritten, tuple(params), output)
    return graph or _assemble(rewritten, tuple(params), output, unmatched)


def _with_several_uses(
    loss: TensorVariable,
    parameters: tuple[TensorSharedVariable, ...],
    output: TensorVariable | None,
) -> LayerGraph | None:
    """Return the graph if a parameter is not read by exactly one affine map; else None.

    A parameter with a block of up to :data:`LARGEST` rows is copied for each example. A larger
    weight of several affine maps is a layer with several uses, and so is a smaller one that
    cannot be copied. The diagonal of the curvature is kept of any other parameter.
    """
    loss = with_plain_products(loss, parameters)
    data_loss, _ = _data_loss_and_penalty(loss, _affine_nodes(loss), parameters)
    if data_loss is None or not find_unmatched(data_loss, parameters):
        return None
    possible = find_tied(data_loss, parameters)
    tied = [p for p in possible if np.prod(value_shape(p)) > LARGEST]
    reasons, diagonal = find_unmatched(data_loss, parameters), dict[TensorSharedVariable, str]()
    while True:
        try:
            return _with_copies(loss, parameters, output, tied, diagonal)
        except NotCopied as failure:
            tied_too = [p for p in possible if p in failure and p not in (*tied, *diagonal)]
            if tied_too:
                tied += tied_too
                continue
            bias = "it is a bias of a weight that several affine maps read"
            found = {p: f"{reasons.get(p, bias)}; {failure}" for p in parameters if p in failure}
            if not found.keys() - diagonal:
                raise_unmatched(found)
            diagonal |= found
            tied = [p for p in tied if p not in diagonal]


def _affine_nodes(loss: TensorVariable) -> list[Apply]:
    return [n for n in value_nodes([loss]) if isinstance(n.op, Affine)]


def _with_copies(
    loss: TensorVariable,
    parameters: tuple[TensorSharedVariable, ...],
    output: TensorVariable | None,
    tied: Sequence[TensorSharedVariable],
    diagonal: Mapping[TensorSharedVariable, str],
) -> LayerGraph | None:
    """Return the graph with copies of the unmatched parameters that have no other treatment.

    The weights ``tied`` are layers with several uses. The parameters ``diagonal``, each with the
    reason, have the diagonal of the curvature.

    A copy has an axis for each example axis. Their number is known only of the whole graph, so
    that the highest number comes first. The graph is None if no number fits.
    """
    loss = with_separate_biases(loss, parameters, tied)
    data_loss, penalty = _data_loss_and_penalty(loss, _affine_nodes(loss), parameters)
    if diagonal:
        data_loss = without_layers_of(data_loss, diagonal)
        meeting_examples(data_loss, diagonal, parameters)
        loss = data_loss if penalty is None else data_loss + penalty
    allowed = covered(find_tied(data_loss, parameters), tied)
    unread = find_unmatched(data_loss, parameters, allowed)
    copied = [p for p in unread if p not in diagonal]
    for p in copied:
        if is_large(p):
            raise NotCopied([p], too_large(p))
    if not copied:
        return _assemble(loss, parameters, output, "error", tied, diagonal)
    for lead in range(most_axes(data_loss, copied, parameters), 0, -1):
        replaced = with_copies(data_loss, copied, parameters, lead)
        whole = replaced if penalty is None else replaced + penalty
        graph = _assembled_with(whole, parameters, output, lead, tied, diagonal)
        if graph is not None:
            return graph
    return None


def _assembled_with(
    loss: TensorVariable,
    parameters: tuple[TensorSharedVariable, ...],
    output: TensorVariable | None,
    lead: int,
    tied: Sequence[TensorSharedVariable],
    diagonal: Mapping[TensorSharedVariable, str],
) -> LayerGraph | None:
    """Return the graph; None if there are fewer example axes than a copy has leading axes."""
    try:
        graph = _assemble(loss, parameters, output, "error", tied, diagonal)
    except NotABatchLossError:
        if lead == 1:
            raise
        return None
    axes = {graph.example_axes[each.preactivation] for each in graph.layers if each.copies}
    return graph if axes <= {lead} else None


def _marked(loss: TensorVariable, output: TensorVariable | None) -> TensorVariable:
    """Insert :data:`network_output` at the variable where the user splits the loss."""
    if output is None:
        return loss
    if not isinstance(output, Variable):
        raise SpecError(
            f"output must be a variable of the graph of the loss, not {type(output).__name__}."
        )
    if output not in set(ancestors([loss])):
        raise CurvatureRuleNotFound(
            f"output {describe(output)} is not in the graph of the loss: pass the very variable "
            "that the loss was built from."
        )
    return graph_replace(loss, {output: network_output(output)})


def _assemble(
    loss: TensorVariable,
    parameters: tuple[TensorSharedVariable, ...],
    output: TensorVariable | None,
    unmatched: str,
    tied: Sequence[TensorSharedVariable] = (),
    diagonal: Mapping[TensorSharedVariable, str] = MappingProxyType({}),
) -> LayerGraph:
    """Return the graph of a loss; ``diagonal`` has the reasons of :class:`DiagonalParameter`."""
    nodes = _affine_nodes(loss)
    data_loss, penalty = _data_loss_and_penalty(loss, nodes, parameters)
    shared = find_tied(data_loss, parameters) if tied else {}
    unread = find_unmatched(data_loss, parameters, covered(shared, tied))
    reasons = {p: why for p, why in unread.items() if p not in diagonal}
    if reasons and unmatched == "error":
        raise_unmatched(reasons)
    matched = [p for p in parameters if p not in reasons and p not in diagonal]
    if data_loss is None or not (matched or diagonal):
        raise UnmatchedParameterError(
            f"no parameter is the weight of an affine map a @ W ({names(parameters)}): there is "
            "no curvature to factorise. Train them by a first-order method."
        )
    layers = layers_of(in_forward_order(nodes, matched), frozenset(matched), shared)
    for layer in layers:
        check_bias(layer)
    check_movable(loss, parameters, {} if unmatched != "freeze" else reasons)
    nodes = [h.owner for h in preactivations(layers)]
    found = meeting_examples(data_loss, diagonal, parameters)
    met = [entry for each in found.values() for entry in each]
    example_axes = count_example_axes(data_loss, nodes, met)
    units = [layer.input for layer in layers if layer.copies]
    fixed = functions_of_parameters(data_loss, parameters, units) if units or met else ()
    sources = [*nodes, *(entry.node for entry in met)]
    candidates = find_candidates(data_loss, sources, example_axes, output, fixed)
    entrywise = diagonal_parameters(found, diagonal, layers)
    if not candidates:
        return _assemble_jointly(
            loss, data_loss, layers, entrywise, parameters, unmatched, tied, met
        )
    return LayerGraph(
        loss=loss,
        data_loss=data_loss,
        penalty=penalty,
        parameters=parameters,
        layers=layers,
        output=candidates[0],
        candidates=candidates,
        example_axes=example_axes,
        unmatched=reasons,
        unmatched_treatment=unmatched,
        diagonal=entrywise,
    )


def _data_loss_and_penalty(
    loss: TensorVariable, nodes: Sequence[Apply], parameters: Sequence[TensorSharedVariable]
) -> tuple[TensorVariable | None, TensorVariable | None]:
    data = [v for v in explicit_graph_inputs([loss]) if has_axes(v)]
    data += [node.outputs[0] for node in nodes]
    return split_penalty(loss, dependents([loss], parameters), dependents([loss], data))


def _assemble_jointly(
    loss: TensorVariable,
    data_loss: TensorVariable,
    layers: Sequence[Layer],
    diagonal: Sequence[DiagonalParameter],
    parameters: tuple[TensorSharedVariable, ...],
    unmatched: str,
    tied: Sequence[TensorSharedVariable],
    met: Sequence[Entry],
) -> LayerGraph:
    """Split at the joint output of a loss whose outputs meet after the sum over the examples."""
    meeting = [v for each in diagonal for v in each.readers]
    varying = dependents([data_loss], [*preactivations(layers), *meeting])
    readers = [n.outputs[0] for n in _readers_of_copies(data_loss, layers, parameters)] + meeting
    exposed = exposed_outputs(data_loss, varying, readers)
    by_terms = _outputs_of_terms(data_loss, layers, parameters, met)
    if by_terms and len(by_terms) < len(exposed) and rows_are_examples(by_terms):
        exposed = by_terms
    if not rows_are_examples(exposed):
        raise CurvatureRuleNotFound(
            f"the loss reads several outputs of the network, {names(exposed)}, whose rows cannot "
            "be shown to be the same examples: no single variable with a leading example axis "
            "lies on every path to it. Concatenate the outputs into one variable, compute the "
            "loss from it, and pass it as output=. If the loss reads the network at several sets "
            "of points, put them into one batch, with an input that selects each point's term."
        )
    joint_loss, z = with_joint_output(loss, exposed, 1)
    return _assemble(joint_loss, parameters, z, unmatched, tied, _reasons(diagonal))


def _reasons(diagonal: Sequence[DiagonalParameter]) -> dict[TensorSharedVariable, str]:
    return {each.weight: each.reason for each in diagonal}


def _outputs_of_terms(
    data_loss: TensorVariable,
    layers: Sequence[Layer],
    parameters: Sequence[TensorSharedVariable],
    met: Sequence[Entry],
) -> list[TensorVariable] | None:
    """Return the output of each additive term of the loss; None unless every term has one."""
    nodes = [h.owner for h in preactivations(layers)]
    units = [layer.input for layer in layers if layer.copies]
    fixed = functions_of_parameters(data_loss, parameters, units) if units or met else ()
    sources = [*nodes, *(entry.node for entry in met)]
    return term_outputs(data_loss, sources, count_example_axes(data_loss, nodes, met), fixed)


def split_jointly(graph: LayerGraph) -> LayerGraph | None:
    """Return the graph split at the joint output of several affine maps that the loss reads.

    Returns
    -------
    LayerGraph or None
        None if the loss reads one affine map only, or maps with different example axes.
    """
    varying = dependents([graph.data_loss], graph.sources)
    exposed = exposed_outputs(graph.data_loss, varying, _diagonal_readers(graph))
    axes = {graph.example_axes[v] for v in exposed}
    if len(exposed) < 2:
        return None
    if axes != {graph.example_axes[graph.candidates[0]]}:
        if not rows_are_examples(exposed):
            return None
        axes = {1}
    loss, z = with_joint_output(graph.loss, exposed, axes.pop())
    tied = [layer.weight for layer in graph.layers if len(preactivations([layer])) > 1]
    diagonal = _reasons(graph.diagonal)
    return _assemble(loss, graph.parameters, z, graph.unmatched_treatment, tied, diagonal)


def _diagonal_readers(graph: LayerGraph) -> list[TensorVariable]:
    return [v for each in graph.diagonal for v in each.readers]


def read_with_data(graph: LayerGraph) -> list[TensorVariable]:
    """Return the affine maps that the nearest candidate combines with batch inputs, if several."""
    varying = dependents([graph.data_loss], graph.sources)
    nearest = graph.candidates[0]
    exposed = exposed_outputs(nearest, varying, _diagonal_readers(graph))
    known = [*exposed, *_network_inputs(graph, nearest)]
    return exposed if len(exposed) > 1 and reads_examples(nearest, known) else []


def _network_inputs(graph: LayerGraph, output: TensorVariable) -> list[Variable]:
    """Return the roots that the network reads beside copies, which are no targets of the loss."""
    readers = _readers_of_copies(output, graph.layers, graph.parameters)
    readers += [v.owner for v in _diagonal_readers(graph)]
    if not readers:
        return []
    varying = dependents([graph.data_loss], graph.sources)
    read = [use.input for side in graph.sides if not side.copies for use in side.uses]
    read += [v for node in readers for v in node.inputs if v not in varying]
    return [v for v in value_roots(read) if v not in graph.parameters]


def _readers_of_copies(
    output: TensorVariable, layers: Sequence[Layer], parameters: Sequence[TensorSharedVariable]
) -> list[Apply]:
    """Return the nodes at which copies, or functions of them, meet values of the examples."""
    units = [layer.input for layer in layers if layer.copies]
    if not units:
        return []
    fixed = functions_of_parameters(output, parameters, units)
    copied = dependents([output], [each.preactivation for each in layers if each.copies])
    return [
        node
        for node in toposort([output])
        if node.outputs[0] not in fixed and any(v in fixed and v in copied for v in node.inputs)
    ]
