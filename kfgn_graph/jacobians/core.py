"""The interface of local Jacobians, and their dispatch on the Op of a segment.

Local Jacobians do not depend on the curvature method, and methods do not depend on Ops. A rule
therefore makes an Op available to all methods::

    @register_local_jacobian(MyOp)
    def local_jacobian_MyOp(op, segment):
        return ConstantJacobian(segment, pulls)  # or a subclass of LocalJacobian

Columns C of a square root at v have the shape (K, R, *event): K columns, R rows (the examples,
over all example axes) and the *event*, the remaining axes of v. D_v is the product of the
lengths of the event.
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
from kfgn_graph.layers.examples import check_op_types
from kfgn_graph.printing import describe

Lengths = list["TensorVariable | int"]
Blocks = list[list[TensorVariable]]


@dataclass(frozen=True, eq=False)
class Segment:
    """One step v = f(u_1, ..., u_m) of the network: an Op or a composition of elementwise Ops.

    Attributes
    ----------
    node : Apply
        The node that computes v; for a composition, its last node.
    output : TensorVariable
        The result v.
    inputs : tuple of TensorVariable
        The inputs u_i that depend on the layers. All other inputs are constants.
    example_axes : tuple of int
        The number of leading axes that enumerate examples, for v and then for each u_i.
    """

    node: Apply
    output: TensorVariable
    inputs: tuple[TensorVariable, ...]
    example_axes: tuple[int, ...]

    def event(self, index: int | None = None) -> Lengths:
        """Return the event of v, or of u_index: the lengths of all axes but the example axes."""
        if index is None:
            return event_lengths(self.output, self.example_axes[0])
        return event_lengths(self.inputs[index], self.example_axes[1 + index])


def event_lengths(variable: TensorVariable, example_axes: int) -> Lengths:
    """Return the lengths of all axes but the example axes, each an int if it is static."""
    return [
        s if s is not None else variable.shape[k]
        for k, s in enumerate(variable.type.shape)
        if k >= example_axes
    ]


def product(lengths: Lengths) -> TensorVariable | int:
    """Return the product of lengths, an int if all of them are."""
    total: TensorVariable | int = 1
    for length in lengths:
        total = length * total
    return total


def flatten_examples(variable: TensorVariable, example_axes: int) -> TensorVariable:
    """Flatten the example axes of a variable: (N, ..., *event) to (R, *event)."""
    if example_axes == 1:
        return variable
    return variable.reshape((-1, *event_lengths(variable, example_axes)))


class LocalJacobian(ABC):
    """The local Jacobians J_i = dv/du_i of a segment, as the operations that methods need.

    A subclass implements :meth:`transpose_apply`, which suffices for KFLR, KFAC and
    ``BlockGaussNewton``. KFRA also needs :meth:`mean_congruence`, and in a network with branches
    :meth:`mean_transpose_apply`. ``BlockHessian`` needs :meth:`second_order`. An operation that is
    not implemented raises :class:`~kfgn_graph.CurvatureRuleNotFound`.

    Parameters
    ----------
    segment : Segment
        The segment.
    """

    def __init__(self, segment: Segment) -> None:
        self.segment = segment

    @abstractmethod
    def transpose_apply(self, C: TensorVariable) -> list[TensorVariable]:
        """Return J_i^T C per example, for each input i.

        Parameters
        ----------
        C : TensorVariable
            Columns at v, of shape (K, R, *event of v).

        Returns
        -------
        list of TensorVariable
            For each i, of shape (K, R, *event of u_i).
        """

    def mean_transpose_apply(self, M: TensorVariable) -> list[TensorVariable]:
        """Return E[J_i]^T M for each input i, E being the mean over the examples.

        Parameters
        ----------
        M : TensorVariable
            Of shape (D_v, m).

        Returns
        -------
        list of TensorVariable
            For each i, of shape (D_ui, m).
        """
        raise self.unstructured()

    def mean_congruence(self, G: TensorVariable) -> Blocks:
        """Return E[J_i^T G J_j] for each i and j >= i, E being the mean over the examples.

        Parameters
        ----------
        G : TensorVariable
            Of shape (D_v, D_v).

        Returns
        -------
        list of list of TensorVariable
            For each i and j >= i, of shape (D_ui, D_uj).
        """
        raise self.unstructured()

    def second_order(self, g: TensorVariable) -> Blocks | None:
        """Return sum_k g_k d^2 v_k / du_i du_j per example, or None if v is linear in u.

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
            f"BlockHessian needs the second derivatives of {self.segment.node.op}, in "
            f"{describe(self.segment.output)}, for which there is no rule. Use BlockGaussNewton, "
            "KFLR or KFAC, which do not need them."
        )

    def unstructured(self) -> CurvatureRuleNotFound:
        """Return the error for an Op whose Jacobian has no rule."""
        return CurvatureRuleNotFound(
            f"KFRA cannot propagate the expected curvature through {self.segment.node.op}, in "
            f"{describe(self.segment.output)}: the structure of its Jacobian is not known. Use "
            "KFLR or KFAC, which support any differentiable Op, or register a rule for the Op "
            "with kfgn_graph.register_local_jacobian."
        )


Pull = Callable[[TensorVariable], TensorVariable]
Rule = Callable[..., LocalJacobian]


class ConstantJacobian(LocalJacobian):
    r"""A local Jacobian that is the same for every example, given by its transpose.

    Parameters
    ----------
    segment : Segment
        The segment.
    pulls : sequence of callables
        For each input, the linear map :math:`C \mapsto J_i^T C` from columns of shape
        (K, R, *event of v) to columns of shape (K, R, *event of u_i), for any K and R.
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
    """Return the local Jacobian of a segment, dispatched on the type of its Op.

    Parameters
    ----------
    op : Op
        The Op of ``segment.node``.
    segment : Segment
        The segment.

    Returns
    -------
    LocalJacobian
        By the rule registered for the Op, else by that for every Op: the Op's own pullback.
    """
    raise TypeError(f"{op!r} is not an Op")


def register_local_jacobian(
    *op_types: type[Op],
) -> Callable[[Rule], Rule]:
    """Register the rule for the local Jacobian of Op types; used as a decorator.

    Parameters
    ----------
    *op_types : type
        The Op classes that the rule covers.

    Returns
    -------
    callable
        A decorator for ``rule(op, segment) -> LocalJacobian``.

    Raises
    ------
    SpecError
        If one of them is no type of Op.
    """
    check_op_types(op_types)

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            local_jacobian.register(op_type, rule)
        return rule

    return register
