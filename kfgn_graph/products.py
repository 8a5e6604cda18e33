"""Exact products with the Gauss-Newton matrix of the whole network, never formed."""

from __future__ import annotations

from collections.abc import Sequence

from pytensor.gradient import pullback, pushforward
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.errors import ParameterError
from kfgn_graph.heads import find_head
from kfgn_graph.layers.graph import LayerGraph


def gauss_newton_product(
    graph: LayerGraph, vectors: Sequence[TensorVariable]
) -> list[TensorVariable]:
    r"""Return the exact Gauss-Newton matrix of the data loss times vectors.

    Parameters
    ----------
    graph : LayerGraph
        From :func:`kfgn_graph.trace_layers`.
    vectors : sequence of TensorVariable
        One for each of ``graph.parameters``, of its shape and dtype.

    Returns
    -------
    list of TensorVariable
        :math:`\sum_n J_n^T H_n J_n v`, one for each parameter: in the units of the loss, all
        blocks and not the diagonal ones only. Penalties are left out; H_n is the loss's
        Hessian at its output, with negative curvature set to zero where it has any.

    Raises
    ------
    ParameterError
        If the vectors do not match the parameters in number.
    """
    parameters = list(graph.parameters)
    if len(vectors) != len(parameters):
        raise ParameterError(
            f"gauss_newton_product wants {len(parameters)} vectors, one for each parameter, not "
            f"{len(vectors)}."
        )
    z = graph.output
    return equations.gauss_newton(
        lambda v: pushforward(z, parameters, v),
        find_head(graph).curvature_times,
        lambda u: list(pullback(z, parameters, u, disconnected_inputs="ignore")),
        list(vectors),
    )
