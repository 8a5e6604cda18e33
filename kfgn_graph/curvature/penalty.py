"""The curvature of the penalty, which is added to the damping of a layer."""

from __future__ import annotations

from collections.abc import Sequence

from pytensor.graph.basic import Variable
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import ancestors
from pytensor.scalar import Second
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.shape import Shape, Shape_i
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.heads.terms import elementwise_terms
from kfgn_graph.layers.derivatives import grad
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.linalg.vectors import total


def penalty_curvature(
    graph: LayerGraph, parameters: Sequence[TensorSharedVariable]
) -> TensorVariable | None:
    r"""Return :math:`\eta`, the penalty's mean second derivative in the parameters of a block.

    A penalty :math:`\frac{\eta}{2} \sum w^2` adds :math:`\eta I` to the block. This
    is not Kronecker-factored and is therefore added to the damping. Only quadratic elementwise
    terms contribute to :math:`\eta`; other terms contribute to the loss and the gradient only.

    Returns
    -------
    scalar TensorVariable or None
        None if no quadratic term depends on the parameters.
    """
    diagonals = [_quadratic_diagonal(graph.penalty, p) for p in parameters]
    if graph.penalty is None or all(d is None for d in diagonals):
        return None
    sizes = [p.size.astype(p.type.dtype) for p in parameters]
    return total([d.sum() for d in diagonals if d is not None]) / total(sizes)


def _quadratic_diagonal(
    penalty: TensorVariable | None, parameter: Variable
) -> TensorVariable | None:
    """Return the diagonal of the penalty's Hessian in one parameter, or None if not constant."""
    if penalty is None or parameter not in set(ancestors([penalty])):
        return None
    if elementwise_terms(penalty, parameter) is None:
        return None
    first = grad(penalty, parameter)
    if parameter not in set(ancestors([first])):
        return None
    second = grad(first.sum(), parameter, disconnected_inputs="ignore")
    return None if _values_read(second, parameter) else second


def _values_read(expression: TensorVariable, parameter: Variable) -> bool:
    """Return whether the value of the expression, not only its shape, depends on the parameter."""
    simplified = rewrite_graph(expression, include=("canonicalize",))
    pending = [simplified]
    while pending:
        node = pending.pop().owner
        if node is None or isinstance(node.op, Shape | Shape_i):
            continue
        fills = isinstance(node.op, Elemwise) and isinstance(node.op.scalar_op, Second)
        read = node.inputs[1:] if fills else node.inputs
        if parameter in read:
            return True
        pending.extend(read)
    return False
