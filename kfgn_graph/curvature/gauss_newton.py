"""Exact products with the Gauss-Newton matrix of the whole network, which is never formed."""

from __future__ import annotations

from collections.abc import Sequence

import pytensor.tensor as pt
from pytensor.gradient import pullback, pushforward
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors, applys_between
from pytensor.tensor.variable import TensorVariable

from kfgn_graph import equations
from kfgn_graph.errors import ParameterError
from kfgn_graph.heads import Head, find_head
from kfgn_graph.layers.derivatives import defined_derivatives
from kfgn_graph.layers.graph import LayerGraph, check_graph
from kfgn_graph.layers.subsample import Leading
from kfgn_graph.layers.substitution import substituted
from kfgn_graph.linalg.accumulation import marked
from kfgn_graph.linalg.vectors import Values
from kfgn_graph.printing import describe


class GaussNewton:
    """The exact Gauss-Newton matrix J^T H_L J of the data loss, as a product of linear maps.

    Parameters
    ----------
    graph : LayerGraph
        From :func:`kfgn_graph.trace_layers`.
    head : Head, optional
        The head of the loss. It is found if not given.
    """

    def __init__(self, graph: LayerGraph, head: Head | None = None) -> None:
        self._output = graph.output
        self._head = head or find_head(graph)

    def image(self, v: Values) -> TensorVariable:
        """Return J v, of the output's shape; v is zero for parameters that it does not contain.

        J is zero for a parameter that the loss alone reads, such as a noise scale.
        """
        reached = set(ancestors([self._output]))
        moving = [p for p in v if p in reached]
        if not moving:
            return pt.zeros_like(self._output)
        tangents = [v[p] for p in moving]
        return pushforward(self._output, moving, tangents, disconnected_outputs="ignore")

    def curvature(self, u: TensorVariable) -> TensorVariable:
        """Return H_L u, of the output's shape; H_L includes the reduction of the loss."""
        return self._head.curvature_times(u)

    def pullback(self, u: TensorVariable, parameters: Sequence[TensorVariable]) -> Values:
        """Return J^T u for the parameters, summed over the examples."""
        pulled = pullback(self._output, list(parameters), u, disconnected_inputs="ignore")
        # PyTensor's derivative of a comparison has the dtype floatX.
        return {p: g.astype(p.type.dtype) for p, g in zip(parameters, pulled, strict=True)}

    def product(self, v: Values) -> Values:
        """Return the block of the matrix that belongs to v's parameters, times v."""
        return equations.gauss_newton(
            self.image, self.curvature, lambda u: self.pullback(u, list(v)), v
        )


class SampledGaussNewton(GaussNewton):
    r"""An estimate of the Gauss-Newton matrix from the first examples of a batch.

    The estimate is :math:`\frac{N}{n} \sum_{i \le n} J_i^T H_i J_i`, where H_i includes the
    reduction of the loss over all N examples. Martens and Grosse (2015, section 8) use a quarter
    of the batch.

    Parameters
    ----------
    graph : LayerGraph
        The network on the whole batch.
    head : Head
        The head of its loss.
    leading : Leading
        The network on the first n examples.
    count : int
        n; if the batch is smaller, all of its examples are used.
    """

    def __init__(self, graph: LayerGraph, head: Head, leading: Leading, count: int) -> None:
        super().__init__(graph, head)
        self._whole, self._output, self._count = graph.output, leading.output, count
        self._computed = dict(leading.computed)

    def image(self, v: Values) -> TensorVariable:
        """Return J v for the first examples, by the values of the whole batch's forward pass."""
        tangents = {p: t.type() for p, t in v.items()}
        image = super().image(tangents)
        replaced = self._computed | self._recomputed(image)
        replaced |= {tangents[p]: t for p, t in v.items()}
        return substituted(image, replaced)

    def _recomputed(self, image: TensorVariable) -> dict[Variable, TensorVariable]:
        """Map each node of J v that repeats a forward computation to the known value.

        An example is tanh(h) in tanh'(h). Recomputed from the first rows of h, it would keep h
        alive.
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
        """Return H_L u, scaled by N / n."""
        whole, first = self._whole, slice(self._count)
        padded = pt.set_subtensor(pt.zeros_like(whole)[first], u)
        rows, taken = whole.shape[0], pt.minimum(self._count, whole.shape[0])
        share = rows.astype(u.type.dtype) / taken.astype(u.type.dtype)
        return share * super().curvature(padded)[first]


@defined_derivatives()
def gauss_newton_product(
    graph: LayerGraph, vectors: Sequence[TensorVariable]
) -> list[TensorVariable]:
    r"""Return the product of the exact Gauss-Newton matrix of the data loss with a vector.

    Parameters
    ----------
    graph : LayerGraph
        From :func:`kfgn_graph.trace_layers`.
    vectors : sequence of TensorVariable
        The vector v: one tensor for each of ``graph.parameters``, of its shape and dtype.

    Returns
    -------
    list of TensorVariable
        :math:`\sum_n J_n^T H_n J_n v`, one tensor for each parameter, in the units of the loss.
        All blocks of the matrix are included, not only the diagonal ones; penalties are not. H_n
        is the Hessian of the loss in the output, with negative curvature set to zero.

    Raises
    ------
    SpecError
        If ``graph`` is no LayerGraph.
    ParameterError
        If there is not exactly one tensor for each parameter, or one has another number of axes.
    """
    check_graph(graph)
    parameters = list(graph.parameters)
    if len(vectors) != len(parameters):
        raise ParameterError(
            f"gauss_newton_product takes {len(parameters)} vectors, one for each parameter, not "
            f"{len(vectors)}."
        )
    vectors = [pt.as_tensor(v) for v in vectors]
    for p, v in zip(parameters, vectors, strict=True):
        if v.type.ndim != p.type.ndim:
            raise ParameterError(
                f"the vector for {describe(p)} has {v.type.ndim} axes, but the parameter has "
                f"{p.type.ndim}: pass one tensor of the shape of each parameter."
            )
    product = GaussNewton(graph).product(dict(zip(parameters, vectors, strict=True)))
    return [marked(product[p]) for p in parameters]
