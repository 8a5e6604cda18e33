"""The layers of a graph: its affine maps, grouped by the weights that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.sharedvar import TensorSharedVariable

from kfgn_graph.errors import ParameterError
from kfgn_graph.layers.graph import Layer, Use
from kfgn_graph.layers.ir import Lookup
from kfgn_graph.layers.lookups import one_hot
from kfgn_graph.layers.names import unique_keys, unique_names
from kfgn_graph.layers.tied import Tied
from kfgn_graph.layers.views import underlying_parameter
from kfgn_graph.printing import describe
from kfgn_graph.shared_values import value_shape


def layers_of(
    nodes: Sequence[Apply], parameters: frozenset[Variable], tied: Mapping[Variable, Tied]
) -> tuple[Layer, ...]:
    """Return the layers of the affine nodes whose weights are in ``parameters``.

    Parameters
    ----------
    nodes : sequence of Apply
        Affine nodes, in forward order.
    parameters : set of shared variables
        The weights and biases of the layers.
    tied : mapping
        The weights that several nodes read.
    """
    found: dict[Variable, list[Apply]] = {}
    for node in nodes:
        weight = underlying_parameter(node.inputs[1], parameters)
        if weight is not None:
            found.setdefault(weight, []).append(node)
    layer_names = unique_names([weight.name for weight in found], "layer")
    keys = unique_keys(layer_names)
    layers: list[Layer] = []
    for (weight, own), name, key in zip(found.items(), layer_names, keys, strict=True):
        backwards = tied[weight].reverse if weight in tied else ()
        main = [node for node in own if node not in backwards]
        biases = main[0].inputs[2:]
        bias = underlying_parameter(biases[0], parameters) if biases else None
        for node in own:
            node.outputs[0].name = node.outputs[0].name or f"{name}_preactivation"
        first, *further = [Use(node.inputs[0], node.outputs[0]) for node in main]
        reverse = _reverse(name, weight, key, [node for node in own if node in backwards])
        a, h = first.input, first.preactivation
        if isinstance(h.owner.op, Lookup):
            a = one_hot(a, h.owner.inputs[1])
        layers.append(Layer(name, weight, bias, a, h, key, tuple(further), reverse))
    return tuple(layers)


def _reverse(
    name: str, weight: TensorSharedVariable, key: str, nodes: Sequence[Apply]
) -> Layer | None:
    """Return the layer of the affine nodes that read a weight transposed, if there are any."""
    if not nodes:
        return None
    first, *further = [Use(node.inputs[0], node.outputs[0]) for node in nodes]
    return Layer(name, weight, None, first.input, first.preactivation, key, tuple(further))


def check_bias(layer: Layer) -> None:
    """Raise :class:`ParameterError` unless the bias has an entry for each output of the layer."""
    if layer.bias is None:
        return
    bias, (_, outputs) = value_shape(layer.bias), layer.shape
    if np.prod(bias) != outputs:
        raise ParameterError(
            f"bias {describe(layer.bias)} has the shape {bias}, but its layer {layer.name} has "
            f"{outputs} outputs: give it one entry for each."
        )
