"""Exact products with the Gauss-Newton matrix of the whole network, never formed."""

from __future__ import annotations

from collections.abc import Sequence

import pytensor.tensor as pt
from pytensor.gradient import pullback, pushforward
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import applys_between
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.errors import ParameterError
from kfgn_graph.heads import Head, find_head
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.layers.subsample import Leading
from kfgn_graph.linalg.vectors import Values


class GaussNewton:
    """The exact Gauss-Newton matrix of the data loss, as a linear map in three parts.

    Parameters
    ----------
    graph : LayerGraph
        From :func:`kfgn_graph.trace_layers`.
    head : Head, optional
        Of the loss, where it is known already.
    """

    def __init__(self, graph: LayerGraph, head: Head | None = None) -> None:
        self._output = graph.output
        self._head = head or find_head(graph)

    def image(self, v: Values) -> TensorVariable:
        """Return J v, of the output's shape; parameters that v leaves out do not move."""
        return pushforward(self._output, list(v), list(v.values()))

    def curvature(self, u: TensorVariable) -> TensorVariable:
        """Return H_L u, of the output's shape; H_L carries the loss's own reduction."""
        return self._head.curvature_times(u)

    def pullback(self, u: TensorVariable, parameters: Sequence[TensorVariable]) -> Values:
        """Return J^T u of the parameters, summed over examples."""
        pulled = pullback(self._output, list(parameters), u, disconnected_inputs="ignore")
        return dict(zip(parameters, pulled, strict=True))

    def product(self, v: Values) -> Values:
        """Return the matrix times v, over v's parameters: their diagonal block of it."""
        return equations.gauss_newton(
            self.image, self.curvature, lambda u: self.pullback(u, list(v)), v
        )


class SampledGaussNewton(GaussNewton):
    r"""An estimate of the Gauss-Newton matrix from a batch's first examples alone.

    :math:`\frac{N}{n} \sum_{i \le n} J_i^T H_i J_i`, where H_i carries the reduction of the loss
    over all N (Martens and Grosse 2015, section 8, take a quarter of the batch).

    Parameters
    ----------
    graph : LayerGraph
        Of the whole batch.
    head : Head
        Of its loss.
    leading : Leading
        The network on the first n examples.
    count : int
        n, or more than there are.
    """

    def __init__(self, graph: LayerGraph, head: Head, leading: Leading, count: int) -> None:
        super().__init__(graph, head)
        self._whole, self._output, self._count = graph.output, leading.output, count
        self._computed = dict(leading.computed)

    def image(self, v: Values) -> TensorVariable:
        """Return J v for the first examples, on the values of the whole batch's forward pass."""
        tangents = {p: t.type() for p, t in v.items()}
        image = super().image(tangents)
        replaced = self._computed | self._computed_again(image)
        replaced |= {tangents[p]: t for p, t in v.items()}
        return graph_replace(image, replaced, strict=False)

    def _computed_again(self, image: TensorVariable) -> dict[Variable, TensorVariable]:
        """Return what derivatives compute anew, as tanh(h) in tanh'(h), with the known values.

        Left as it is it would be computed of the first rows of h, which then has to be kept.
        """
        known = {
            (v.owner.op, *v.owner.inputs): value
            for v, value in self._computed.items()
            if v.owner is not None and len(v.owner.outputs) == 1
        }
        return {
            node.outputs[0]: known[key]
            for node in applys_between([], [image])
            if (key := (node.op, *node.inputs)) in known
        }

    def curvature(self, u: TensorVariable) -> TensorVariable:
        """Return H_L u, scaled so that the first examples stand for all."""
        whole, first = self._whole, slice(self._count)
        padded = pt.set_subtensor(pt.zeros_like(whole)[first], u)
        rows, taken = whole.shape[0], pt.minimum(self._count, whole.shape[0])
        share = rows.astype(u.type.dtype) / taken.astype(u.type.dtype)
        return share * super().curvature(padded)[first]


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
    product = GaussNewton(graph).product(dict(zip(parameters, vectors, strict=True)))
    return [product[p] for p in parameters]
