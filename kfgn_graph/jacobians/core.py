"""The local Jacobian of one step of the network, and the dispatcher that finds it.

A *segment* is one step v = f(u_1, ..., u_m) of the network: an Op, or a whole composition
of elementwise Ops, which counts as one. Its local Jacobian knows no curvature method; the
methods know no Op. An Op is taught to all methods at once by::

    @register_local_jacobian(MyOp)
    def local_jacobian_MyOp(op, segment):
        return ConstantJacobian(segment, pulls)  # or a subclass of LocalJacobian

Messages keep examples apart: a column message C at v is (K, R, *event), with K columns, R
rows (examples, over all example axes) and v's remaining axes; D_v is their product.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch

from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import CurvatureRuleNotFound
from kfgn_graph.printing import describe

Lengths = list["TensorVariable | int"]
Blocks = list[list[TensorVariable]]


@dataclass(frozen=True, eq=False)
class Segment:
    """One step v = f(u_1, ..., u_m) of the network.

    Attributes
    ----------
    node : Apply
        The node that makes v (for a composition, its last).
    output : TensorVariable
        v.
    inputs : tuple of TensorVariable
        The u_i that vary with the layers; the others are held.
    example_axes : tuple of int
        How many leading axes enumerate examples: of v, then of each u_i.
    """

    node: Apply
    output: TensorVariable
    inputs: tuple[TensorVariable, ...]
    example_axes: tuple[int, ...]

    def event(self, index: int | None = None) -> Lengths:
        """Return the lengths of the other axes: of v, or of u_index."""
        if index is None:
            return event_lengths(self.output, self.example_axes[0])
        return event_lengths(self.inputs[index], self.example_axes[1 + index])


def event_lengths(variable: TensorVariable, example_axes: int) -> Lengths:
    """Return the lengths of all axes but the example axes; ints where they are static."""
    return [
        s if s is not None else variable.shape[k]
        for k, s in enumerate(variable.type.shape)
        if k >= example_axes
    ]


def product(lengths: Lengths) -> TensorVariable | int:
    """Return the product of some lengths; an int where all are."""
    total: TensorVariable | int = 1
    for length in lengths:
        total = length * total
    return total


def as_message(variable: TensorVariable, example_axes: int) -> TensorVariable:
    """Flatten a variable's example axes: (N, ..., *event) to (R, *event)."""
    if example_axes == 1:
        return variable
    return variable.reshape((-1, *event_lengths(variable, example_axes)))


class LocalJacobian(ABC):
    """dv/du_i for the inputs u_i of a segment, in the verbs that curvature methods use."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment

    @abstractmethod
    def transpose_apply(self, C: TensorVariable) -> list[TensorVariable]:
        """Return J_i^T C per example, for each i: (K, R, *event of v) to (K, R, *event of u_i)."""

    def mean_transpose_apply(self, M: TensorVariable) -> list[TensorVariable]:
        """Return E[J_i]^T M over the examples, for each i: (D_v, m) to (D_ui, m)."""
        raise self.unstructured()

    def mean_congruence(self, G: TensorVariable) -> Blocks:
        """Return E[J_i^T G J_j] over the examples, for each i and j >= i: (D_ui, D_uj)."""
        raise self.unstructured()

    def second_order(self, g: TensorVariable) -> Blocks | None:
        """Return sum_k g_k d^2 v_k / du_i du_j per example, or None where v is linear in u.

        Parameters
        ----------
        g : TensorVariable
            The gradient of the loss with respect to v, of shape (R, *event of v).

        Returns
        -------
        list of list, or None
            For each i and j >= i, of shape (R, D_ui, D_uj).
        """
        raise CurvatureRuleNotFound(
            f"the exact Hessian needs the second derivatives of {self.segment.node.op}, in "
            f"{describe(self.segment.output)}, which has no rule: BlockGaussNewton, KFLR and KFAC "
            "need none."
        )

    def unstructured(self) -> CurvatureRuleNotFound:
        """Return the error for an Op whose Jacobian has no known structure."""
        return CurvatureRuleNotFound(
            f"KFRA cannot carry the expected curvature through {self.segment.node.op}, in "
            f"{describe(self.segment.output)}: its Jacobian has no known structure. KFLR and KFAC "
            "work through any differentiable Op; or teach the Op with "
            "kfgn_graph.register_local_jacobian."
        )


Pull = Callable[[TensorVariable], TensorVariable]
Rule = Callable[..., LocalJacobian]


class ConstantJacobian(LocalJacobian):
    """A Jacobian that is the same for every example, known by its transpose.

    Parameters
    ----------
    segment : Segment
        The step it belongs to.
    pulls : sequence of callables
        For each input, the map (K, R, *event of v) to (K, R, *event of u_i), for any K and R.
    """

    def __init__(self, segment: Segment, pulls: Sequence[Pull]) -> None:
        super().__init__(segment)
        self._pulls = tuple(pulls)

    def transpose_apply(self, C: TensorVariable) -> list[TensorVariable]:
        return [pull(C) for pull in self._pulls]

    def mean_transpose_apply(self, M: TensorVariable) -> list[TensorVariable]:
        return [self._pull_matrix(i, M) for i in range(len(self._pulls))]

    def mean_congruence(self, G: TensorVariable) -> Blocks:
        left = self.mean_transpose_apply(G)
        return [
            [self._pull_matrix(j, left[i].T).T for j in range(i, len(left))]
            for i in range(len(left))
        ]

    def second_order(self, g: TensorVariable) -> Blocks | None:
        return None

    def _pull_matrix(self, index: int, M: TensorVariable) -> TensorVariable:
        columns = M.T.reshape((M.shape[1], 1, *self.segment.event()))
        pulled = self._pulls[index](columns)
        return pulled.reshape((M.shape[1], product(self.segment.event(index)))).T


@singledispatch
def local_jacobian(op: Op, segment: Segment) -> LocalJacobian:
    """Return the local Jacobian of a segment, by the type of the Op that makes its output.

    Parameters
    ----------
    op : Op
        The Op of ``segment.node``.
    segment : Segment
        The step of the network.

    Returns
    -------
    LocalJacobian
        The rule registered for the Op, else the fallback through the Op's own pullback.
    """
    from kfgn_graph.jacobians.fallback import PullbackJacobian

    return PullbackJacobian(segment)


def register_local_jacobian(
    *op_types: type[Op],
) -> Callable[[Rule], Rule]:
    """Register the local Jacobian of some Op types; used as a decorator.

    Parameters
    ----------
    *op_types : type
        The Op classes that the rule covers.

    Returns
    -------
    callable
        A decorator for ``rule(op, segment) -> LocalJacobian``.
    """

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            local_jacobian.register(op_type, rule)
        return rule

    return register
