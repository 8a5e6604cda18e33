"""Rewrites that recognise the graph patterns of a layer and replace each by :class:`Affine`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.builders import OpFromGraph
from pytensor.compile.rewriting import inline_ofg_node
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant, Variable, equal_computations
from pytensor.graph.features import Feature
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import copy_stack_trace, node_rewriter
from pytensor.scalar import Add
from pytensor.tensor.basic import Split
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot
from pytensor.tensor.reshape import JoinDims, SplitDims, join_dims
from pytensor.tensor.shape import Reshape
from pytensor.tensor.special import LogSoftmax, LogSumExp, Softmax

from kfgn_graph.layers.ir import Affine, NetworkOutput, affine
from kfgn_graph.layers.padding import gathered_padding
from kfgn_graph.layers.views import underlying_parameter
from kfgn_graph.shared_values import value_shape

#: Ops that are not inlined, because loss heads and rules match them.
NOT_INLINED = (Affine, NetworkOutput, Softmax, LogSoftmax, LogSumExp)


class ParameterSet(Feature):
    """A graph feature that tells the rewrites which roots are parameters to train."""

    def __init__(self, parameters: Sequence[Variable]) -> None:
        self.parameters = frozenset(parameters)

    def on_attach(self, fgraph: FunctionGraph) -> None:
        """Store the set as ``fgraph.parameter_set``."""
        fgraph.parameter_set = self.parameters


@node_rewriter([OpFromGraph])
def inline_layers(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Inline an Op that wraps a graph, such as the linear layer of a library."""
    if isinstance(node.op, NOT_INLINED):
        return None
    padded = gathered_padding(node)
    results = inline_ofg_node(node) if padded is None else [padded]
    for old, new in zip(node.outputs, results, strict=True):
        new.name = new.name or old.name
    return results


def replaced(node: Apply, result: Variable) -> list[Variable]:
    """Return the replacement of a node, with the node's name and creation line."""
    copy_stack_trace(node.outputs[0], result)
    result.name = node.outputs[0].name
    return [result]


def _trailing_axes(variable: Variable, ndim: int) -> Variable:
    """Drop the leading axes of length 1, and the DimShuffle that added them, if there is one."""
    if variable.type.ndim == ndim:
        return variable
    node = variable.owner
    added = tuple("x" * (variable.type.ndim - ndim)) + tuple(range(ndim))
    if node is not None and isinstance(node.op, DimShuffle) and node.op.new_order == added:
        return node.inputs[0]
    return variable.dimshuffle(*range(variable.type.ndim - ndim, variable.type.ndim))


@node_rewriter([Dot])
def find_dot(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Recognise ``a @ W`` and ``a @ V.T`` for a matrix ``a``."""
    a, weight = node.inputs
    if a.type.ndim != 2 or weight.type.ndim != 2:
        return None
    if underlying_parameter(weight, fgraph.parameter_set) is None:
        return None
    return replaced(node, affine(a, weight))


@node_rewriter([Blockwise])
def find_matmul(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Recognise ``a @ W`` with extra axes: a batched product with one weight for all."""
    if not isinstance(node.op.core_op, Dot):
        return None
    a, weight = node.inputs
    if not all(weight.type.broadcastable[:-2]) or a.type.ndim != node.outputs[0].type.ndim:
        return None
    parameter = underlying_parameter(weight, fgraph.parameter_set)
    if parameter is None:
        return None
    return replaced(node, affine(a, _trailing_axes(weight, 2)))


@node_rewriter([Reshape, SplitDims])
def find_tensordot(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Recognise ``tensordot(a, W)`` over trailing axes: flatten, multiply, restore the axes."""
    product = node.inputs[0].owner
    if product is None or not isinstance(product.op, Affine) or len(product.inputs) != 2:
        return None
    flat, weight = product.inputs
    if flat.owner is None or not isinstance(flat.owner.op, Reshape | JoinDims):
        return None
    a, lead = flat.owner.inputs[0], node.outputs[0].type.ndim - 1
    if not 0 < lead < a.type.ndim or len(fgraph.clients[node.inputs[0]]) != 1:
        return None
    if not _same_features(a, flat, lead) or not _leading_axes_restored(a, node, lead):
        return None
    if lead < a.type.ndim - 1:
        a = join_dims(a, lead, a.type.ndim - lead)
    return replaced(node, affine(a, weight))


def _same_features(a: Variable, flat: Variable, lead: int) -> bool:
    """Return whether ``flat`` has the axes of ``a`` from ``lead`` on, as its last axis."""
    node = flat.owner
    if isinstance(node.op, JoinDims):
        return node.op.start_axis == 0 and node.op.n_axes == lead == a.type.ndim - 1
    features = a.type.shape[lead:]
    if None not in features and prod(features) == flat.type.shape[-1]:
        return True
    if lead < a.type.ndim - 1:
        return False
    target = node.inputs[1].owner
    return target is not None and _is_size_of(target.inputs[-1], a, a.type.ndim - 1)


def _leading_axes_restored(a: Variable, node: Apply, lead: int) -> bool:
    """Return whether the result of ``node`` has the leading axes of ``a``."""
    shape = node.outputs[0].type.shape
    target = node.inputs[1].owner
    for axis in range(lead):
        static = a.type.shape[axis] is not None and a.type.shape[axis] == shape[axis]
        if not static and (target is None or not _is_size_of(target.inputs[axis], a, axis)):
            return False
    return True


def _is_size_of(size: Variable, a: Variable, axis: int) -> bool:
    """Return whether ``size`` is the symbolic length of ``a`` along ``axis``."""
    return equal_computations([size], [a.shape[axis]])


@node_rewriter([Elemwise])
def find_bias(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Recognise a bias parameter added, in any order, to a product that has no other client."""
    if not isinstance(node.op.scalar_op, Add):
        return None
    bias = next((v for v in node.inputs if _is_bias(v, fgraph.parameter_set)), None)
    product = next((v for v in node.inputs if _awaits_bias(fgraph, v, bias)), None)
    if bias is None or product is None:
        return None
    with_bias = affine(*product.owner.inputs, _trailing_axes(bias, 1))
    copy_stack_trace(product, with_bias)
    rest = [v for v in node.inputs if v is not bias and v is not product]
    if not rest:
        return replaced(node, with_bias)
    return [pt.add(with_bias, *rest)]


def _is_bias(variable: Variable, parameters: frozenset[Variable]) -> bool:
    """Return whether the variable is a parameter that varies along the last axis only."""
    if not all(variable.type.broadcastable[:-1]) or variable.type.ndim == 0:
        return False
    if underlying_parameter(variable, parameters) is None:
        return False
    node = variable.owner
    return node is None or not isinstance(node.op, DimShuffle) or node.op.new_order[-1] != "x"


def _is_product(variable: Variable) -> bool:
    """Return whether the variable is the product of a layer without a bias."""
    node = variable.owner
    return node is not None and isinstance(node.op, Affine) and len(node.inputs) == 2


def _awaits_bias(fgraph: FunctionGraph, variable: Variable, bias: Variable | None) -> bool:
    """Return whether the variable is a product without a bias whose every client adds ``bias``."""
    return (
        bias is not None
        and _is_product(variable)
        and variable.type.ndim == bias.type.ndim
        and _has_entry_for_each_output(bias, variable)
        and all(_adds(client, bias) for client, _ in fgraph.clients[variable])
    )


def _has_entry_for_each_output(bias: Variable, product: Variable) -> bool:
    """Return whether the bias is not broadcast over the outputs: one entry for several of them.

    Such an entry is the sum of an affine map's biases, which no block of the map describes.
    """
    if not bias.type.broadcastable[-1] or product.type.shape[-1] == 1:
        return True
    return _static_shape(product.owner.inputs[1])[1] == 1


def _static_shape(matrix: Variable) -> tuple[int | None, ...]:
    """Return the shape of a parameter or of its transpose, by its value where not declared."""
    if isinstance(matrix, SharedVariable):
        return value_shape(matrix)
    node = matrix.owner
    if node is not None and isinstance(node.op, DimShuffle) and node.op.new_order == (1, 0):
        return _static_shape(node.inputs[0])[::-1]
    return matrix.type.shape


def _adds(client: Apply, bias: Variable) -> bool:
    return (
        isinstance(client.op, Elemwise)
        and isinstance(client.op.scalar_op, Add)
        and bias in client.inputs
    )


@node_rewriter([Elemwise])
def find_scalar_bias(fgraph: FunctionGraph, node: Apply) -> list[Variable] | None:
    """Recognise ``a @ w + b`` with a vector w, a scalar b: a layer with one squeezed output."""
    if not isinstance(node.op.scalar_op, Add):
        return None
    bias = next((v for v in node.inputs if _is_scalar_bias(v, fgraph.parameter_set)), None)
    squeezed = next((v for v in node.inputs if v is not bias and _is_squeezed(v)), None)
    if bias is None or squeezed is None:
        return None
    product = squeezed.owner.inputs[0]
    alone = all(len(fgraph.clients[v]) == 1 for v in (product, squeezed))
    if not _is_product(product) or not alone:
        return None
    with_bias = affine(*product.owner.inputs, _underlying_scalar(bias).dimshuffle("x"))
    rest = [v for v in node.inputs if v is not bias and v is not squeezed]
    result = squeezed.owner.op(with_bias)
    return replaced(node, pt.add(result, *rest) if rest else result)


def _underlying_scalar(variable: Variable) -> Variable:
    while variable.type.ndim > 0:
        variable = variable.owner.inputs[0]
    return variable


def _is_scalar_bias(variable: Variable, parameters: frozenset[Variable]) -> bool:
    parameter = underlying_parameter(variable, parameters)
    return parameter is not None and parameter.type.ndim == 0 and variable.type.ndim > 0


def _is_squeezed(variable: Variable) -> bool:
    """Return whether the variable drops a last axis of length 1."""
    node = variable.owner
    return (
        node is not None
        and isinstance(node.op, DimShuffle)
        and node.op.new_order == tuple(range(node.inputs[0].type.ndim - 1))
    )


@node_rewriter([Split])
def split_into_slices(fgraph: FunctionGraph, node: Apply) -> list[Variable]:
    """Replace a split by slices, so that every node of the network has one output."""
    x, lengths = node.inputs
    before = (slice(None),) * node.op.axis
    starts = [lengths[:k].sum() for k in range(len(node.outputs) + 1)]
    if isinstance(lengths, Constant):
        starts = [0, *np.cumsum(lengths.data).tolist()]
    return [x[(*before, slice(starts[k], starts[k + 1]))] for k in range(len(node.outputs))]
