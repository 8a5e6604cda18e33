"""Recognition of a loss: its layers, its penalty and its candidate outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, explicit_graph_inputs, toposort
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import (
    CurvatureRuleNotFound,
    NotABatchLossError,
    ParameterError,
    SpecError,
    UnmatchedParameterError,
)
from kfgn_graph.layers.candidates import find_candidates
from kfgn_graph.layers.checking import check_gradients, check_loss, check_parameters
from kfgn_graph.layers.copies import (
    NotCopied,
    most_axes,
    with_copies,
    with_plain_products,
)
from kfgn_graph.layers.dtypes import has_axes
from kfgn_graph.layers.entries import functions_of_parameters
from kfgn_graph.layers.examples import count_example_axes
from kfgn_graph.layers.exchange import with_opened_loops
from kfgn_graph.layers.graph import Layer, LayerGraph, value_shape
from kfgn_graph.layers.ir import Affine, network_output
from kfgn_graph.layers.joint import exposed_outputs, reads_examples, with_joint_output
from kfgn_graph.layers.names import unique_keys, unique_names
from kfgn_graph.layers.order import in_forward_order
from kfgn_graph.layers.penalty_terms import split_penalty
from kfgn_graph.layers.rewriting import rewrite_to_layers
from kfgn_graph.layers.rows import rows_are_examples
from kfgn_graph.layers.traversal import dependents, value_roots
from kfgn_graph.layers.verification import check_movable, find_unmatched, raise_unmatched
from kfgn_graph.layers.views import underlying_parameter
from kfgn_graph.printing import describe, names

UNMATCHED_TREATMENTS = ("error", "gradient", "freeze")


def recognise(
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    output: TensorVariable | None = None,
    unmatched: str = "error",
) -> LayerGraph:
    """Recognise the layers of ``loss`` and verify that they cover every parameter.

    Without ``output``, the returned graph is split at the candidate nearest to the network.
    See :func:`kfgn_graph.trace_layers` for the parameters and errors.
    """
    if unmatched not in UNMATCHED_TREATMENTS:
        raise SpecError(f"unmatched={unmatched!r} is not one of {UNMATCHED_TREATMENTS}.")
    check_loss(loss)
    dtype = check_parameters(loss, params)
    check_gradients(loss, params)
    rewritten = rewrite_to_layers([_marked(loss, output)], params, dtype)[0]
    rewritten = with_opened_loops(rewritten, params, dtype, unmatched == "error")
    copied = None
    if unmatched == "error":
        copied = _with_copies(rewritten, tuple(params), output)
    return copied or _assemble(rewritten, tuple(params), output, unmatched)


def _with_copies(
    loss: TensorVariable,
    parameters: tuple[TensorSharedVariable, ...],
    output: TensorVariable | None,
) -> LayerGraph | None:
    """Return the graph with copies of the parameters outside affine maps; None without any.

    A copy has an axis for each example axis. Their number is known only of the whole graph, so
    that the highest number comes first.
    """
    loss = with_plain_products(loss, parameters)
    nodes = [n for n in toposort([loss]) if isinstance(n.op, Affine)]
    data_loss, penalty = _data_loss_and_penalty(loss, nodes, parameters)
    if data_loss is None:
        return None
    reasons = find_unmatched(data_loss, parameters)
    if not reasons:
        return None
    try:
        for lead in range(most_axes(data_loss, list(reasons), parameters), 0, -1):
            copied = with_copies(data_loss, list(reasons), parameters, lead)
            whole = copied if penalty is None else copied + penalty
            graph = _assembled_with(whole, parameters, output, lead)
            if graph is not None:
                return graph
    except NotCopied as failure:
        first = next(p for p in reasons if p in failure.parameters)
        raise_unmatched({first: f"{reasons[first]}; {failure}"})
    return None


def _assembled_with(
    loss: TensorVariable,
    parameters: tuple[TensorSharedVariable, ...],
    output: TensorVariable | None,
    lead: int,
) -> LayerGraph | None:
    """Return the graph; None if there are fewer example axes than a copy has leading axes."""
    try:
        graph = _assemble(loss, parameters, output, "error")
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
) -> LayerGraph:
    nodes = [n for n in toposort([loss]) if isinstance(n.op, Affine)]
    data_loss, penalty = _data_loss_and_penalty(loss, nodes, parameters)
    reasons = find_unmatched(data_loss, parameters)
    if reasons and unmatched == "error":
        raise_unmatched(reasons)
    matched = [p for p in parameters if p not in reasons]
    if data_loss is None or not matched:
        raise UnmatchedParameterError(
            f"no parameter is the weight of an affine map a @ W ({names(parameters)}): there is "
            "no curvature to factorise. Train them by a first-order method."
        )
    layers = _layers(in_forward_order(nodes, matched), frozenset(matched))
    for layer in layers:
        _check_bias(layer)
    check_movable(loss, parameters, {} if unmatched != "freeze" else reasons)
    nodes = [layer.preactivation.owner for layer in layers]
    example_axes = count_example_axes(data_loss, nodes)
    units = [layer.input for layer in layers if layer.copies]
    fixed = functions_of_parameters(data_loss, parameters, units) if units else ()
    candidates = find_candidates(data_loss, nodes, example_axes, output, fixed)
    if not candidates:
        return _assemble_jointly(loss, data_loss, layers, parameters, unmatched)
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
    parameters: tuple[TensorSharedVariable, ...],
    unmatched: str,
) -> LayerGraph:
    """Split at the joint output of a loss whose outputs meet after the sum over the examples."""
    varying = dependents([data_loss], [layer.preactivation for layer in layers])
    readers = [n.outputs[0] for n in _readers_of_copies(data_loss, layers, parameters)]
    exposed = exposed_outputs(data_loss, varying, readers)
    if not rows_are_examples(exposed):
        raise CurvatureRuleNotFound(
            f"the loss reads several outputs of the network, {names(exposed)}, whose rows cannot "
            "be shown to be the same examples: no single variable with a leading example axis "
            "lies on every path to it. Concatenate the outputs into one variable, compute the "
            "loss from it, and pass it as output=."
        )
    joint_loss, z = with_joint_output(loss, exposed, 1)
    return _assemble(joint_loss, parameters, z, unmatched)


def split_jointly(graph: LayerGraph) -> LayerGraph | None:
    """Return the graph split at the joint output of several affine maps that the loss reads.

    Returns
    -------
    LayerGraph or None
        None if the loss reads one affine map only, or maps with different example axes.
    """
    varying = dependents([graph.data_loss], [layer.preactivation for layer in graph.layers])
    exposed = exposed_outputs(graph.data_loss, varying)
    axes = {graph.example_axes[v] for v in exposed}
    if len(exposed) < 2:
        return None
    if axes != {graph.example_axes[graph.candidates[0]]}:
        if not rows_are_examples(exposed):
            return None
        axes = {1}
    loss, z = with_joint_output(graph.loss, exposed, axes.pop())
    return _assemble(loss, graph.parameters, z, graph.unmatched_treatment)


def read_with_data(graph: LayerGraph) -> list[TensorVariable]:
    """Return the affine maps that the nearest candidate combines with batch inputs, if several."""
    varying = dependents([graph.data_loss], [layer.preactivation for layer in graph.layers])
    nearest = graph.candidates[0]
    exposed = exposed_outputs(nearest, varying)
    known = [*exposed, *_network_inputs(graph, nearest)]
    return exposed if len(exposed) > 1 and reads_examples(nearest, known) else []


def _network_inputs(graph: LayerGraph, output: TensorVariable) -> list[Variable]:
    """Return the roots that the network reads beside copies, which are no targets of the loss."""
    readers = _readers_of_copies(output, graph.layers, graph.parameters)
    if not readers:
        return []
    varying = dependents([graph.data_loss], [layer.preactivation for layer in graph.layers])
    read = [layer.input for layer in graph.layers if not layer.copies]
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


def _layers(nodes: Sequence[Apply], parameters: frozenset[Variable]) -> tuple[Layer, ...]:
    """Return the layers of the affine nodes whose weights are in ``parameters``."""
    weights = [underlying_parameter(node.inputs[1], parameters) for node in nodes]
    found = [(node, W) for node, W in zip(nodes, weights, strict=True) if W is not None]
    layer_names = unique_names([weight.name for _, weight in found], "layer")
    keys = unique_keys(layer_names)
    layers: list[Layer] = []
    for (node, weight), name, key in zip(found, layer_names, keys, strict=True):
        a, _, *biases = node.inputs
        bias = underlying_parameter(biases[0], parameters) if biases else None
        h = node.outputs[0]
        h.name = h.name or f"{name}_preactivation"
        layers.append(Layer(name, weight, bias, a, h, key))
    return tuple(layers)


def _check_bias(layer: Layer) -> None:
    """Raise :class:`ParameterError` unless the bias has an entry for each output of the layer."""
    if layer.bias is None:
        return
    bias, (_, outputs) = value_shape(layer.bias), layer.shape
    if np.prod(bias) != outputs:
        raise ParameterError(
            f"bias {describe(layer.bias)} has the shape {bias}, but its layer {layer.name} has "
            f"{outputs} outputs: give it one entry for each."
        )
